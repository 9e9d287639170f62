"""The context of a call, as functions of Azure get it."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import azure.functions
from azure.functions import _abc


@dataclass(frozen=True)
class Trace(_abc.TraceContext):
    """The trace of a call, as its headers say."""

    trace_parent: str = ""
    trace_state: str = ""
    attributes: Any = MappingProxyType({})


@dataclass(frozen=True)
class RetryState(_abc.RetryContext):
    """How often a call was made before."""

    retry_count: int = 0
    max_retry_count: int = 0
    exception: Any = None


@dataclass(frozen=True)
class Context(azure.functions.Context):
    """What a function gets for its parameter `context`."""

    invocation_id: str = ""
    function_name: str = ""
    function_directory: str = ""
    trace_context: Trace = Trace()
    retry_context: RetryState = RetryState()
    thread_local_storage: Any = None
