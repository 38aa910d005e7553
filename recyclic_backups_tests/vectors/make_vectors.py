"""Write the vectors: ``python -m recyclic_backups_tests.vectors.make_vectors``; the result never varies.

Built from docs/format/ alone, in straight lines, without importing the code that it tests: whoever writes a
reader in another language may read this file as an example. The vectors are committed; a change to any of
them is a change of the format, or a mistake.
"""

from __future__ import annotations

import json
from pathlib import Path

from recyclic_backups_tests.vectors.check_cases import CHECK_NAME, check_cases
from recyclic_backups_tests.vectors.document_cases import LABEL, ODD, document_cases
from recyclic_backups_tests.vectors.envelope_cases import OBJECT_NAME, envelope_cases
from recyclic_backups_tests.vectors.key_file_cases import key_file_cases
from recyclic_backups_tests.vectors.manifest_cases import NAME, manifest_cases
from recyclic_backups_tests.vectors.primitives import (
    BACKUP_ID,
    DATA_KEY,
    Json,
    canonical,
    key_id_of,
)
from recyclic_backups_tests.vectors.wal_cases import (
    SEGMENT,
    SEGMENT_BYTES,
    SYSTEM_IDENTIFIER,
    document_cases_of_a_server,
    history_cases,
    segment_cases,
)

FOLDER = Path(__file__).parent


def vectors() -> dict[str, str]:
    """Each file's name and content."""
    data_keys = {key_id_of(DATA_KEY): DATA_KEY.hex()}
    files: dict[str, Json] = {
        "envelope.json": {
            "about": "docs/format/envelope.md. `sealed` and `plain` are base64. A case's own backup_id or "
            "object_name is what the reader asks for instead of the one below; these are the keys it has.",
            "data_keys": data_keys,
            "backup_id": BACKUP_ID,
            "object_name": OBJECT_NAME,
            "cases": envelope_cases(),
        },
        "key_files.json": {
            "about": "docs/format/keys.md. `content` is the text of keys/<key_id>.json.",
            "data_key": DATA_KEY.hex(),
            "cases": key_file_cases(),
        },
        "documents.json": {
            "about": "docs/format/documents.md. `content` is base64. The reader has the keys below.",
            "data_keys": data_keys,
            "canonical": [
                {"document": document, "canonical": canonical(document).decode()} for document in (LABEL, ODD)
            ],
            "cases": document_cases(),
        },
        "manifests.json": {
            "about": "docs/format/documents.md. `content` is base64. The reader has the keys below. `whole` is what "
            "the reader knows once it has opened what is sealed, without `mac` and `sealed`.",
            "data_keys": data_keys,
            "storage_name": NAME,
            "cases": manifest_cases(),
        },
        "checks.json": {
            "about": "docs/format/documents.md. As manifests.json, for checks.",
            "data_keys": data_keys,
            "storage_name": CHECK_NAME,
            "cases": check_cases(),
        },
        "wal.json": {
            "about": "docs/format/wal.md. The reader has the keys below, and so has the storage. Of a case in "
            "`segments` or `histories` only its `objects` are there: base64, by their names in the folder `wal` of the "
            "server. `filled` is how many bytes of the segment there are by names alone, `archive_id` what is known of "
            "the archive.",
            "data_keys": data_keys,
            "system_identifier": SYSTEM_IDENTIFIER,
            "segment": SEGMENT,
            "segment_bytes": SEGMENT_BYTES,
            "segments": segment_cases(),
            "histories": history_cases(),
            "documents": document_cases_of_a_server(),
        },
    }
    return {name: json.dumps(content, indent=1, ensure_ascii=True) + "\n" for name, content in files.items()}


if __name__ == "__main__":
    for file_name, text in vectors().items():
        (FOLDER / file_name).write_text(text, encoding="utf-8")
