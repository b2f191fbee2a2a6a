"""What can be wrong with the files that forecasting reads."""

from __future__ import annotations

from streams.errors import ClientFault


class BadTrace(ClientFault):
    """A file of counts cannot be read, or is too short for what was asked."""

    code = "bad_trace"


class BadForecasters(ClientFault):
    """Stored models or state are not of this version, or not such a file at all."""

    code = "bad_forecasters"
