"""The JSON Schema of scenario files, for editors that complete keys and mark mistakes while one types."""

from __future__ import annotations

import json
from typing import Any

from scenarios.scenario import Scenario


def schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Scenario.model_json_schema(by_alias=True, mode="validation"),
        "title": "Kakehashi scenario",
    }


def text() -> str:
    """The schema as JSON, with its final newline."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
