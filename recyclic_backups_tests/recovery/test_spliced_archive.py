"""Two archives of one server have segments of the same names: those of one are damage in the other."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from recyclic_backups.errors import DamagedData
from recyclic_backups.postgres.programs import Installation
from recyclic_backups.recovery.target import LATEST
from recyclic_backups_tests.archive.conftest import (
    copied,
    put_in_its_place,
    receiving,
    small_segments,
    write_rows,
)
from recyclic_backups_tests.recovery.conftest import Site


def test_a_segment_of_an_archive_that_was_moved_away_is_damage(
    installation: Installation, scratch_directory: Path, tmp_path: Path
) -> None:
    """Attack: production was put back to an older state, and its archive begun anew; he lays segments of the old there.

    They are sealed by us, for this server and that name. Where both histories wrote as many bytes at each step, as
    here, their records follow one another, and PostgreSQL replays a mixture of both without a word.
    """
    with small_segments(installation, scratch_directory) as cluster:
        old = Site(cluster, tmp_path / "old", installation, scratch_directory)
        with cluster.server.connect("postgres") as connection:
            connection.execute("CREATE TABLE public.log (id bigserial, what text)")
        copy = copied(cluster)
        _archive(old, "history one")
        shutil.copytree(old.directory, tmp_path / "new")
        shutil.rmtree(tmp_path / "new" / f"server.{old.system_identifier}")
        put_in_its_place(cluster, copy)
        new = Site(cluster, tmp_path / "new", installation, scratch_directory)
        _archive(new, "history two")
    both = sorted(old.survey().listing.segments.keys() & new.survey().listing.segments.keys())
    segment = both[-2]
    shutil.copyfile(old.file_of(segment), new.file_of(segment))
    with pytest.raises(DamagedData, match="another archive of this server"), new.recovered(LATEST):
        pass
    position = f"{new.survey().archive.wal}/position.json"
    shutil.copyfile(old.directory / position, new.directory / position)
    assert any("of another archive" in each for each in new.survey().damage)


def _archive(site: Site, what: str) -> None:
    with receiving(site.cluster, site.store) as receiver:
        site.take_base()
        for _ in range(3):
            write_rows(site.cluster, 3000, what)
        site.caught_up(receiver)
