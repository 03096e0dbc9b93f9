"""The workload, shared by the speed tests."""

from workload import m30

__all__ = ["m30"]
