"""``validate``: what it says is fine is fine."""

from __future__ import annotations

import re

import pytest

from recyclic_backups.postgres.account import Account
from recyclic_backups.postgres.scratch import ScratchCluster
from recyclic_backups_tests.docs.pages import read
from recyclic_backups_tests.operator import Operator

pytestmark = pytest.mark.small


def _alerts(operator: Operator, urls: str) -> list[dict[str, str]]:
    outcome = operator.must("validate", "--json", NOTIFICATION_URLS=urls)
    for secret in ("s3cret-token", "bogus", "jsom"):
        assert secret not in outcome.err
        assert not any(
            secret in each["message"] + each["hint"] for each in outcome.json if each["status"] != "ok"
        )
    return [each for each in outcome.json if each["check"] == "alerts"]


def test_a_url_that_tells_nobody_is_a_warning_by_its_number(operator: Operator) -> None:
    """Loss prevented: weeks of alarms that went nowhere, behind a check that said alerts are fine."""
    wrong = "apprise does not understand the URL number"
    (found,) = _alerts(operator, "bogus://s3cret-token")
    assert found["status"] == "warning"
    assert f"{wrong} 1 of NOTIFICATION_URLS" in found["message"]
    assert "notify-test" in found["hint"]

    told, second = _alerts(operator, "json://127.0.0.1:9/hook critical=jsom://s3cret-token/hook")
    assert (told["status"], told["message"]) == ("ok", "told: json 1")
    assert second["status"] == "warning"
    assert f"{wrong} 2 of NOTIFICATION_URLS" in second["message"]

    (fine,) = _alerts(operator, "json://127.0.0.1:9/hook")
    assert fine["status"] == "ok"


def test_what_validate_warns_of_is_what_the_test_message_finds(operator: Operator) -> None:
    """Loss prevented: two commands that disagree about a channel, and nobody who knows which to believe."""
    (found,) = _alerts(operator, "bogus://s3cret-token")
    outcome = operator.run("notify-test", "--json", NOTIFICATION_URLS="bogus://s3cret-token")
    assert outcome.code == 80
    assert found["message"].startswith(outcome.json[0]["reason"])


def test_too_few_sessions_for_a_backup_are_an_error(operator: Operator, cluster: ScratchCluster) -> None:
    """Loss prevented: ``validate`` says yes, and every night fails at the third session of a role that may have two."""
    role = f"few_{operator.variables['POSTGRES_DB']}"
    with cluster.server.connect("postgres") as connection:
        connection.execute(
            f"CREATE ROLE {role} LOGIN PASSWORD 'x' CONNECTION LIMIT 2 IN ROLE pg_read_all_data"
        )
        connection.execute(f"GRANT CONNECT ON DATABASE {operator.variables['POSTGRES_DB']} TO {role}")
    try:
        outcome = operator.run("validate", "--json", POSTGRES_USER=role, POSTGRES_PASSWORD="x")
    finally:
        with cluster.server.connect(operator.variables["POSTGRES_DB"]) as connection:
            connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    assert outcome.code == 20
    (finding,) = [each for each in outcome.json if each["check"] == "connections"]
    assert finding["message"] == f"a backup has 4 sessions at once, and the role {role} may have 2"
    assert "CONNECTION LIMIT" in finding["hint"]


def test_a_limit_of_the_database_counts_for_a_superuser_too(
    operator: Operator, cluster: ScratchCluster
) -> None:
    """Loss prevented: superusers have no limit, but the role that reads in their place has that of the database."""
    database = operator.variables["POSTGRES_DB"]
    with cluster.server.connect("postgres") as connection:
        connection.execute(f"ALTER DATABASE {database} CONNECTION LIMIT 4")
    outcome = operator.run("validate", "--json")
    assert outcome.code == 20
    (finding,) = [each for each in outcome.json if each["check"] == "connections"]
    assert finding["message"] == f"a backup has 6 sessions at once, and the database {database} may have 4"


def test_variables_of_libpq_are_said_to_be_read_by_nothing(operator: Operator) -> None:
    """Loss prevented: a password file that everybody takes for the one in use."""
    findings = operator.must("validate", "--json", PGPASSFILE="/none", PGHOSTADDR="192.0.2.1").json
    (finding,) = [each for each in findings if each["check"] == "environment"]
    assert finding["status"] == "warning"
    assert finding["message"].startswith("PGHOSTADDR, PGPASSFILE: set, and not read")


def test_a_user_of_throwaway_servers_that_other_programs_share_is_a_warning(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: a web server's helper runs as ``nobody``, and reads what root's drills restore, as that user's own."""

    def told(*, shared: bool) -> str:
        monkeypatch.setattr(
            Account, "for_servers", classmethod(lambda cls: cls(65534, 65534, change=True, shared=shared))
        )
        findings = [each for each in operator.must("validate", "--json").json if each["check"] == "drills"]
        return "".join(each["hint"] for each in findings if "nobody" in each["message"])

    hint = told(shared=True)
    command = re.search("^useradd .*recyclic-scratch$", read("docs/drills.md"), re.MULTILINE)
    assert command is not None
    assert command[0] in hint
    assert told(shared=False) == ""


def test_a_staging_server_that_need_not_prove_who_it_is_is_a_warning(operator: Operator) -> None:
    """Loss prevented: all of production's rows, read on the way to every drill, and nobody was told."""
    for address, status in (
        ("staging.example.org/", "warning"),
        ("staging.example.org/?sslmode=require", "warning"),
        ("staging.example.org/?sslmode=verify-full", "ok"),
        ("127.0.0.1:5433/", "ok"),
    ):
        found = operator.run("validate", "--json", DRILL_SERVER_URL=f"postgresql://me:x@{address}").json
        (said,) = [each for each in found if each["check"] == "drills"]
        assert (said["status"], "who answers is not checked" in said["message"]) == (
            status,
            status == "warning",
        )
