"""Calls that become jobs: delay(), DelayMixin, handle_asynchronously."""

from .asynchronous import handle_asynchronously
from .call import Call, CallJob
from .proxies import DelayMixin, DelayProxy, delay

__all__ = ["Call", "CallJob", "DelayMixin", "DelayProxy", "delay", "handle_asynchronously"]
