"""What a database holds, for people."""

from __future__ import annotations

from autogo_onnx.segment_db.reader import Reader
from autogo_onnx.segment_db.schema import meta


def information(reader: Reader) -> dict[str, object]:
    """Names and values: networks, segments by size, by boundary and by family, vocabulary."""

    def listed(query: str) -> str:
        rows = reader.connection.execute(query).fetchall()
        return ", ".join(f"{name}: {count}" for name, count in rows)

    def counted(table: str) -> int:
        return int(reader.connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    vocabulary = reader.vocabulary()
    return {
        "schema": reader.version,
        "bytes": reader.path.stat().st_size,
        "networks": meta(reader.connection, "networks"),
        "sources": counted("source"),
        "segments": reader.size(),
        "by size": listed("SELECT n_ops, count(*) FROM segment GROUP BY n_ops ORDER BY n_ops"),
        "by inputs and outputs": listed(
            "SELECT n_inputs || ' to ' || n_outputs, count(*) FROM segment GROUP BY 1"
            " ORDER BY 2 DESC, 1"
        ),
        "by family": listed(
            "SELECT family, count(DISTINCT segment) FROM sighting GROUP BY family ORDER BY family"
        ),
        "tokens": len(vocabulary.alphabet),
        "pieces": len(vocabulary.pieces),
        "outcomes of fits": counted("experience"),
    }
