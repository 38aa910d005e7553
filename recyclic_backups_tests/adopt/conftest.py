"""One dump of the demonstration's database for all tests of adoption: it is never changed."""

from __future__ import annotations

import pytest

from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups_tests.adopt import old_script


@pytest.fixture(scope="session")
def archive(cluster: ScratchCluster, recyclic_template: str) -> bytes:
    """An archive of ``pg_dump -Fc -Z9``."""
    return old_script.dump(cluster.installation, cluster.server, recyclic_template)
