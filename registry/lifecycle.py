"""The life of a model's versions: waiting, canary, stable, retired; and the rules by which they change.

Every change makes a new `Release` out of the one in force. Nothing here reads a clock or writes a topic: the shell
(lifecycle_shell.py) fills in `id`, `at` and `by`, publishes, and sees whether the event took hold.

    registered -> waiting -> canary -> stable -> waiting      (promote: the stable one before waits, to go back to)
                     \\----------\\---------\\----> retired    (for good: to try again, register it as a new version)
"""

from __future__ import annotations

import enum
from collections.abc import Collection

import msgspec

from registry.records import Release
from streams.errors import ClientFault, ServerFault

SHARE_MAX = 0.5  # beyond it the canary is the stable one in all but name


class Role(enum.StrEnum):
    """What a version of a model does. Only the first two get queries, and are kept loaded."""

    STABLE = "stable"
    CANARY = "canary"
    WAITING = "waiting"
    RETIRED = "retired"


class ReleaseRefused(ClientFault):
    """The change breaks a rule of the life cycle; the message says which, and what to do instead."""

    code = "release_refused"


class ReleaseConflict(ServerFault):
    """Someone else changed the same model at the same time, and was first."""

    code = "release_conflict"


def role(release: Release | None, version: str) -> Role:
    """What one version does; without any release everything that is registered answers."""
    if release is None or version == release.stable:
        return Role.STABLE
    if version == release.canary:
        return Role.CANARY
    return Role.RETIRED if version in release.retired else Role.WAITING


def opening(model: str, versions: Collection[str], version: str) -> Release:
    """The first release of a model: the version that stands there already goes on answering, else `version` begins.

    Raises: ReleaseRefused if several stand there, for then nobody knows which is meant.
    """
    others = sorted(set(versions) - {version})
    if len(others) > 1:
        raise ReleaseRefused(f"{model} has the versions {', '.join(others)} and no release: promote one of them first")
    stable = others[0] if others else version
    return Release(model=model, number=1, id="", stable=stable, unversioned=stable, action="register")


def canary(release: Release, versions: Collection[str], version: str, share: float) -> Release:
    """Let `version` answer `share` of the queries; a share of 0 ends it, and it waits.

    Raises: ReleaseRefused.
    """
    _require_registered(release, versions, version)
    if not 0.0 <= share <= SHARE_MAX:
        raise ReleaseRefused(f"share {share:g} is outside 0 to {SHARE_MAX:g}; promote it to give it everything")
    if version == release.stable:
        raise ReleaseRefused(f"{release.model} {version} is the stable version already")
    if not release.stable:
        raise ReleaseRefused(f"{release.model} has no stable version to compare with: promote {version}")
    if version in release.retired:
        raise ReleaseRefused(f"{release.model} {version} is retired; register it anew under another version")
    if release.canary not in ("", version):
        raise ReleaseRefused(f"{release.canary} is the canary of {release.model}: promote or retire it first")
    if share == 0.0:
        return _next(release, "end canary", canary="", share=0.0)
    return _next(release, "canary", canary=version, share=share)


def promote(release: Release, versions: Collection[str], version: str, *, force: bool = False) -> Release:
    """Make `version` the stable one; the one before waits. With `force` also one that was never tried.

    Raises: ReleaseRefused.
    """
    _require_registered(release, versions, version)
    if version == release.stable:
        raise ReleaseRefused(f"{release.model} {version} is the stable version already")
    if version in release.retired:
        raise ReleaseRefused(f"{release.model} {version} is retired; register it anew under another version")
    if version != release.canary and release.stable and not force:
        raise ReleaseRefused(f"{release.model} {version} was no canary; try it on a share first, or use --force")
    other = "" if version == release.canary else release.canary
    return _next(release, "promote", stable=version, canary=other, share=release.share if other else 0.0)


def retire(release: Release, versions: Collection[str], version: str, *, force: bool = False) -> Release:
    """Withdraw `version`: no new queries, and executors unload it when nothing waits for it.

    Raises: ReleaseRefused; the stable one only goes with `force`, for then nothing answers for the model.
    """
    _require_registered(release, versions, version)
    if version in release.retired:
        raise ReleaseRefused(f"{release.model} {version} is retired already")
    retired = (*release.retired, version)
    if version == release.canary:
        return _next(release, "retire", canary="", share=0.0, retired=retired)
    if version != release.stable:
        return _next(release, "retire", retired=retired)
    if not force:
        raise ReleaseRefused(
            f"{version} is the stable version of {release.model}: nothing would answer; promote another, or --force"
        )
    return _next(release, "retire", stable="", canary="", share=0.0, retired=retired)


def replace(release: Release, version: str, *, unversioned: bool = False) -> Release:
    """`version` takes the place of the stable one, whose variants it overwrites: a new build under the same names.

    `unversioned`: they do not say which version they are of.
    """
    other = "" if version == release.canary else release.canary
    retired = tuple(each for each in release.retired if each != version)
    return _next(
        release, "replace", stable=version, canary=other, share=release.share if other else 0.0, retired=retired,
        unversioned=version if unversioned else release.unversioned,
    )  # fmt: skip


def _require_registered(release: Release, versions: Collection[str], version: str) -> None:
    if version not in versions:
        known = ", ".join(sorted(versions)) or "none"
        raise ReleaseRefused(f"{release.model} has no version {version!r} registered; there are {known}")


def _next(release: Release, action: str, **changes: object) -> Release:
    fresh = {"number": release.number + 1, "id": "", "at": "", "by": "", "reason": "", "action": action}
    return msgspec.structs.replace(release, **fresh, **changes)
