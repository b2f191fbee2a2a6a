"""Training the LSTM with torch. The cell is written out, since torch's own has tanh where InfAdapter's has ReLU."""

from __future__ import annotations

import numpy as np

from forecasting.expert import Ask
from forecasting.lstm import INPUTS, UNITS, Lstm
from forecasting.rows import Floats

EPOCHS, BATCH, RATE, NORM_MAX = 12, 256, 2e-3, 1.0


def fit(
    features: Floats, target: Floats, ask: Ask, *, quantiles: bool, rng: np.random.Generator, epochs: int = EPOCHS
) -> Lstm:
    """Shapes: `features` (n, f), `target` (n, H). With `quantiles` the pinball loss, else squared errors.

    Raises: ModuleNotFoundError without torch.
    """
    import torch
    from threadpoolctl import threadpool_limits

    asked = ask.quantiles if quantiles else ()
    scale = max(1.0, float(target.mean()))
    values = torch.tensor(features[:, INPUTS] / scale, dtype=torch.float32)
    wanted = torch.tensor(target / scale, dtype=torch.float32)[:, :, None]
    levels = torch.tensor(asked, dtype=torch.float32)
    outputs = len(ask.horizons_s) * max(1, len(asked))
    bound = 1.0 / np.sqrt(UNITS)
    shapes = {
        "kernel": (1, 4 * UNITS), "recurrent": (UNITS, 4 * UNITS), "bias": (4 * UNITS,),
        "dense": (UNITS, outputs), "offset": (outputs,),
    }  # fmt: skip
    weights = {
        name: torch.tensor(rng.uniform(-bound, bound, shape), dtype=torch.float32, requires_grad=True)
        for name, shape in shapes.items()
    }
    optimiser = torch.optim.Adam(weights.values(), lr=RATE)
    threads = threadpool_limits(limits=1)  # 25 units: threads only get into each other's way
    for epoch in range(epochs):
        optimiser.param_groups[0]["lr"] = RATE * (1 - epoch / epochs)
        order = torch.tensor(rng.permutation(len(values)))
        for begin in range(0, len(order), BATCH):
            some = order[begin : begin + BATCH]
            hidden = torch.zeros(len(some), UNITS)
            cell = torch.zeros(len(some), UNITS)
            for step in range(values.shape[1]):
                gates = values[some, step : step + 1] @ weights["kernel"] + hidden @ weights["recurrent"]
                i, f, g, o = (gates + weights["bias"]).chunk(4, dim=1)
                cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.relu(g)
                hidden = torch.sigmoid(o) * torch.relu(cell)
            found = (hidden @ weights["dense"] + weights["offset"]).reshape(len(some), len(ask.horizons_s), -1)
            error = wanted[some] - found
            loss = torch.maximum(levels * error, (levels - 1) * error).mean() if asked else (error**2).mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(weights.values(), NORM_MAX)
            optimiser.step()
    threads.restore_original_limits()
    made = {name: value.detach().numpy().astype(np.float64) for name, value in weights.items()}
    return Lstm(
        horizons_s=ask.horizons_s, quantiles=asked, scale=scale, kernel=made["kernel"], recurrent=made["recurrent"],
        bias=made["bias"], dense=made["dense"], offset=made["offset"],
    )  # fmt: skip
