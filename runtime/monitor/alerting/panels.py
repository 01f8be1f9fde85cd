"""Grafana panels and the queries in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..metrics.definitions import MetricDefinition

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
#: (legend, query)
PanelQuery = tuple[str, str]
Panel = dict[str, Any]


def shown(metric: MetricDefinition, **labels: str) -> str:
    """``metric`` of the model that is shown, with further labels; ``not_x`` for unequal."""
    return metric.select(model="$model", **labels)


def rate(metric: MetricDefinition, **labels: str) -> str:
    """Per second, over what Grafana thinks fit."""
    return f"rate({shown(metric, **labels)}[$__rate_interval])"


def increase(metric: MetricDefinition, **labels: str) -> str:
    """Over what Grafana thinks fit."""
    return f"increase({shown(metric, **labels)}[$__rate_interval])"


def stat(
    title: str, query: PanelQuery, *, unit: str = "short", red_from: float | None = None, text: str = "value"
) -> Panel:
    """One number, or with ``text`` ``name`` the legends of what is there."""
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if red_from is not None:
        steps.append({"color": "red", "value": red_from})
    return {
        "type": "stat",
        "title": title,
        "datasource": SOURCE,
        "targets": _targets([query], instant=True),
        "options": {"textMode": text, "reduceOptions": {"calcs": ["lastNotNull"]}},
        "fieldConfig": {"defaults": {"unit": unit, "thresholds": {"mode": "absolute", "steps": steps}}},
    }


def series(title: str, *queries: PanelQuery, unit: str = "short", dashed: str = "") -> Panel:
    """Curves over time; those whose name matches ``dashed`` are."""
    line = {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [6, 6]}}
    overrides = [{"matcher": {"id": "byRegexp", "options": dashed}, "properties": [line]}] if dashed else []
    defaults = {"unit": unit, "custom": {"fillOpacity": 0, "showPoints": "never"}}
    return {
        "type": "timeseries",
        "title": title,
        "datasource": SOURCE,
        "targets": _targets(queries),
        "fieldConfig": {"defaults": defaults, "overrides": overrides},
    }


def heatmap(title: str, query: str) -> Panel:
    """Buckets over time."""
    return {
        "type": "heatmap",
        "title": title,
        "datasource": SOURCE,
        "targets": _targets([("{{le}}", query)], format="heatmap"),
        "options": {"calculate": False, "yAxis": {"unit": "short"}},
    }


def note(markdown: str) -> Panel:
    """Words."""
    return {"type": "text", "title": "", "options": {"mode": "markdown", "content": markdown}}


def placed(rows: Sequence[tuple[int, Sequence[Panel]]], width: int = 24) -> list[Panel]:
    """The panels of ``rows`` (height, panels), each row's side by side, with ids and places."""
    made: list[Panel] = []
    top = 0
    for height, panels in rows:
        for at, panel in enumerate(panels):
            own = width // len(panels)
            place = {"x": at * own, "y": top, "w": own, "h": height}
            made.append({**panel, "id": len(made) + 1, "gridPos": place})
        top += height
    return made


def _targets(queries: Sequence[PanelQuery], **more: Any) -> list[dict[str, Any]]:
    return [
        {"refId": chr(ord("A") + at), "datasource": SOURCE, "expr": query, "legendFormat": legend, **more}
        for at, (legend, query) in enumerate(queries)
    ]
