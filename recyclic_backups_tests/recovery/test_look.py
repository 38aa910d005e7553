"""``recover --look``: the person at night finds the transaction, and the command for just before it."""

from __future__ import annotations

from recyclic_backups_tests.operator import Operator
from recyclic_backups_tests.recovery.conftest import History


def test_what_was_deleted_and_dropped_is_told_with_its_transaction_and_its_moment(
    recovering: Operator, history: History
) -> None:
    """Loss: a moment that is guessed, a minute too late: the accident comes back with the rest."""
    found = recovering.must("recover", "--look", "--json").document["transactions"]
    deleting = next(each for each in found if each["xid"] == history.deleting_xid)
    assert deleting["deleted"][0]["rows"] == 100  # and the parts of long values, in a table of their own
    assert history.before.isoformat() < deleting["time"].replace("Z", "+00:00") < history.deleted.isoformat()
    assert deleting["command"][:4] == ["recover", "--to-xid", str(history.deleting_xid), "--exclusive"]
    dropping = found[-1]
    assert dropping["removed"]
    assert deleting["deleted"][0]["file"] in [each["file"] for each in dropping["removed"]]


def test_tables_that_are_still_there_have_their_names_and_a_truncated_one_is_told(
    recovering: Operator, history: History
) -> None:
    """Loss: numbers of files, at night, when every minute costs."""
    site = history.site
    server = site.cluster.server
    outcome = recovering.must("recover", "--look", POSTGRES_HOST=server.host, POSTGRES_PORT=str(server.port))
    assert "deleted 100 rows of" in outcome.out
    assert "truncated or rewrote public.kept in postgres" in outcome.out
    assert "changed 2 rows of public.kept in postgres" in outcome.out
    assert "--to-xid" in outcome.out
