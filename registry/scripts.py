"""What stands in a TorchScript archive, before `torch.jit.load` compiles it.

Its pickles are read by torch's C++ unpickler, which makes tensors, numbers, and objects of classes that stand in the
archive; it calls nothing of Python's. But its code is code: `__setstate__` runs during loading, and operators such as
`aten::from_file` and `aten::save` reach the disk. So only plain methods and torch's own operators are let through.
"""

from __future__ import annotations

import re
from pathlib import Path

from registry.archives import BYTES_MAX, BadArtifact, opened
from registry.programs import UnsafeArtifact

CODE_BYTES_MAX = 64 << 20
_PLAIN = re.compile(
    r"data\.pkl|constants\.pkl|version|byteorder|\.data/(version|serialization_id)|(data|constants)/\d+"
    r"|code/.+\.py\.debug_pkl|attributes\.pkl|traced_inputs\.pkl"
)
_CODE = re.compile(r"code/.+\.py")
_REFUSED = re.compile(
    r"\b(?:from_file|__setstate__|__getstate__|(?:torch|ops\.aten)\.(?:save|_print|classes)|ops\.(?!prim\.|aten\.)\w+)\b"
)
EXPORT = "export the model from source with torch.export.export instead"


def check_script(path: Path, *, bytes_max: int = BYTES_MAX) -> None:
    """Refuse a TorchScript archive that is more than methods of torch's operators.

    Raises: UnsafeArtifact, BadArtifact.
    """
    with opened(path, bytes_max=bytes_max, packed=True) as archive:
        names = archive.namelist()
        roots = {name.partition("/")[0] for name in names}
        members = {name: name.partition("/")[2] for name in names}
        if len(roots) != 1 or not {"data.pkl", "constants.pkl"} <= set(members.values()):
            raise BadArtifact(f"{path.name} is a zip but no TorchScript archive; {EXPORT}")
        for name, member in members.items():
            if _PLAIN.fullmatch(member):
                continue
            if not _CODE.fullmatch(member):
                raise UnsafeArtifact(f"{path.name}: {member!r} is not known to be harmless; {EXPORT}")
            if archive.getinfo(name).file_size > CODE_BYTES_MAX:
                raise BadArtifact(f"{path.name}: {member} has more than {CODE_BYTES_MAX} bytes of code")
            text = archive.read(name).decode("utf-8", "replace")
            if found := _REFUSED.search(text):
                raise UnsafeArtifact(f"{path.name}: {member} uses {found[0]!r}, which is refused; {EXPORT}")
