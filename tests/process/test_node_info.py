"""Description of this machine as a cluster node."""

from convsweep.cluster.node_info import describe_node, installed
from convsweep.measure.settings import Settings


def test_a_node_describes_this_machine() -> None:
    info = describe_node(["cpu", "no such device"], Settings())
    assert info.cores >= 1
    assert set(info.requested_devices) == {"cpu"}
    assert info.versions == installed()
    assert {"environment_id", "machine", "versions", "devices"} <= set(info.metadata)
    assert "cores" in info.process_setup
    assert any("taskset" in warning for warning in info.metadata["warnings"])
    assert describe_node(None, Settings()).id == info.id
