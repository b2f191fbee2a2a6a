"""The ladder of digit models: what each is made of, and how it learns."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from torch import nn

from examples.digits.networks import Committee, Convolutional, LowRank, Perceptron
from examples.digits.training import Schedule, train

SEED = 0
PLAIN = Schedule(epochs=40, rate_max=1e-2)


class Rung(msgspec.Struct, frozen=True, kw_only=True):
    """One model: `members` networks trained alike but for the seed; more than one sit in a committee."""

    make: Callable[[], nn.Module]
    schedule: Schedule
    members: int = 1

    @property
    def epochs(self) -> int:
        return self.schedule.epochs * self.members

    def trained(self, epoch_done: Callable[[], None]) -> nn.Module:
        networks = [
            train(self.make, self.schedule, seed=SEED + member, epoch_done=epoch_done) for member in range(self.members)
        ]
        return networks[0] if self.members == 1 else Committee(networks)


# Spaced so that accuracies stay apart for any seed: over four seeds the ranges below do not touch.
RUNGS: dict[str, Rung] = {
    "digits-linear": Rung(  # 89.3-92.0 %
        make=lambda: LowRank(4), schedule=msgspec.structs.replace(PLAIN, rate_max=2e-2)
    ),
    "digits-mlp-small": Rung(make=lambda: Perceptron(12), schedule=PLAIN),  # 95.1-96.3 %
    "digits-mlp-wide": Rung(  # 96.8-97.6 %
        make=lambda: Perceptron(256, 256), schedule=Schedule(epochs=20, rate_max=3e-3)
    ),
    "digits-cnn": Rung(  # 97.9-98.3 %
        make=lambda: Convolutional(16, 32, 64), schedule=Schedule(epochs=25, rate_max=5e-3)
    ),
    "digits-committee": Rung(  # 99.8 %; one member alone 99.4-99.6 %
        make=lambda: Convolutional(32, 64, 128, deep=1),
        schedule=Schedule(epochs=30, rate_max=3e-3, warped=True),
        members=4,
    ),
}
