"""A call of every mutation that Dagster's schema has, made from the schema itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLUnionType,
    get_named_type,
    print_ast,
)
from graphql.utilities import ast_from_value

BACKFILL, ENDED_BACKFILL = "abcdefgh", "ijklmnop"
"""Ids of backfills that there are."""

PREPARED = {
    "repositoryLocationName": "recyclic_backups",
    "repositoryName": "__repository__",
    "pipelineName": "health_job",
    "jobName": "health_job",
    "sensorName": "missed_backups",
    "scheduleName": "health_schedule",
    "locationName": "recyclic_backups",
    "path": "recyclic",
}
"""Names that there are: a call of what is not there would be refused for that alone."""

ARGUMENTS = {
    "launchPartitionBackfill": 'backfillParams: {selector: {partitionSetName: "daily_backup_job_partition_set", '
    'repositorySelector: {repositoryName: "__repository__", repositoryLocationName: "recyclic_backups"}}, '
    'partitionNames: ["2026-11-20"]}',
    "cancelPartitionBackfill": f'backfillId: "{BACKFILL}"',
    "resumePartitionBackfill": f'backfillId: "{BACKFILL}"',
    "reexecutePartitionBackfill": f'reexecutionParams: {{parentRunId: "{ENDED_BACKFILL}", strategy: ALL_STEPS}}',
    "sensorDryRun": 'selectorData: {repositoryName: "__repository__", repositoryLocationName: "recyclic_backups", '
    'sensorName: "missed_backups"}, cursor: ""',
    "scheduleDryRun": 'selectorData: {repositoryName: "__repository__", repositoryLocationName: "recyclic_backups", '
    'scheduleName: "health_schedule"}, timestamp: 1795750000',
    "stopSensor": 'jobOriginId: "x", jobSelectorId: "x"',
    "stopRunningSchedule": 'scheduleOriginId: "x", scheduleSelectorId: "x"',
}
"""Where a call that is made from the schema alone would be refused for something else than its right."""

RESULTS = {
    "launchMultipleRuns": "{ ... on LaunchMultipleRunsResult { launchMultipleRunsResult { __typename } } }",
    "terminateRuns": "{ ... on TerminateRunsResult { terminateRunResults { __typename } } }",
}
"""What holds several answers, each of which may be a refusal."""

SCALARS: dict[str, Any] = {
    "String": "x",
    "ID": "x",
    "Int": 1,
    "Float": 1.0,
    "Boolean": True,
    "RunConfigData": "{}",
}


def every_mutation() -> Iterator[tuple[str, str]]:
    """Name and document of each; what it returns is asked for by its type and, where it can fail, its message."""
    from dagster_graphql.schema import create_schema

    mutation = create_schema().graphql_schema.mutation_type
    assert mutation is not None
    for name, each in sorted(mutation.fields.items()):
        given = ", ".join(
            f"{argument}: {_text(argument, it.type)}"
            for argument, it in each.args.items()
            if isinstance(it.type, GraphQLNonNull) or argument in ("params", "executionParams")
        )
        returned = get_named_type(each.type)
        wanted = ""
        if isinstance(returned, GraphQLUnionType):
            fails = any(each.name == "PythonError" for each in returned.types)
            wanted = f" {{ __typename{' ... on PythonError { message }' if fails else ''} }}"
        elif isinstance(returned, GraphQLObjectType):
            wanted = " { __typename }"
        given, wanted = ARGUMENTS.get(name, given), RESULTS.get(name, wanted)
        yield name, f"mutation {{ {name}{f'({given})' if given else ''} {wanted} }}"


def _text(name: str, type_: GraphQLInputType) -> str:
    node = ast_from_value(_value(name, type_), type_)
    assert node is not None, name
    return print_ast(node)


def _value(name: str, type_: GraphQLInputType) -> Any:
    if isinstance(type_, GraphQLNonNull):
        return _value(name, type_.of_type)
    if isinstance(type_, GraphQLList):
        return [_value(name, type_.of_type)]
    if isinstance(type_, GraphQLEnumType):
        return next(iter(type_.values.values())).value
    if isinstance(type_, GraphQLInputObjectType):
        return {
            field: _value(field, each.type)
            for field, each in type_.fields.items()
            if isinstance(each.type, GraphQLNonNull) or field in PREPARED
        }
    assert isinstance(type_, GraphQLScalarType)
    return PREPARED.get(name, SCALARS.get(type_.name, "x"))
