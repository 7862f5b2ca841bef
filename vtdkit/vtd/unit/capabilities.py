"""The old place of `vtdkit.vtd.capabilities`."""

from vtdkit.vtd.capabilities import BadCapabilities, Capabilities  # noqa: F401
