"""torch.compile for a lane: kernels generated for its module and its number of threads, at load.

Two compilations, for a batch of one and for any larger one; no later batch size compiles again. Both happen in the
rehearsal, so that they count as load time.
"""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

from executors.backends.protocol import BackendMissing
from streams.folders import cache_folder

if TYPE_CHECKING:
    import torch


def compiled(module: torch.nn.Module, *, variant: str) -> Any:
    """`module` as a callable that compiles itself at its first calls.

    Raises: BackendMissing without a C++ compiler.
    """
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        raise BackendMissing(
            f"{variant}: torch.compile needs a C++ compiler, and there is no {compiler!r}; CXX names one"
        )
    # Kernels are kept between processes as native code and pickles. torch's own place for them is a known name under
    # the temporary folder, where another user can put some first.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "inductor"))
    # Compilation in this process: a pool of compiler processes would outlive the load.
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")

    import torch

    return torch.compile(module, dynamic=True)
