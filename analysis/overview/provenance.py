"""What was analysed: the run, the model, where its facts came from, and how far it is proven."""

from __future__ import annotations

from ...runtime.brief import counted
from ...runtime.gates.certificate import Certificate
from ...runtime.gates.gatings import GatingForm
from ...runtime.gates.manifest import Manifest
from ..report.chapter import chapter
from ..report.context import Context
from ..report.markdown import plain, shared_name
from ..report.section import Section
from ..statistics.summary import GateSummary


@chapter("What was analysed")
def provenance_chapter(context: Context) -> Section:
    """The run and its model, and what was compared with what."""
    run, summary = context.run, context.summary
    record, manifest = run.record, run.manifest
    state = "finished" if run.finished else "**not finished**"
    queries = context.queries.height
    of_them = "1 query" if queries == 1 else f"{queries:,} queries"
    videos = counted(context.video_count, "video")
    folder = plain(shared_name(run.path.resolve()))
    lines = [
        (
            "Run",
            f"{folder}, {state}: {videos}, {of_them}, on {plain(record.device)}",
        ),
        ("Annotations", plain(shared_name(record.annotations.path))),
        ("Model", f"{plain(shared_name(record.model.path))} (SHA-256 {plain(record.model.sha256[:12])}…)"),
        ("Family", plain(manifest.family)),
        ("Gating", f"{plain(manifest.gating)}: {_gating(manifest)}"),
        ("Gates", _gates(manifest, summary)),
        ("Checkpoint", f"SHA-256 {plain(manifest.checkpoint_sha256[:12])}…"),
        ("Facts of the checkpoint", _facts(manifest)),
        ("Batching", f"{plain(manifest.batching)}, {plain(manifest.precision)}"),
        ("Parity", _parity(manifest.certificate)),
        ("Verified", _verification(manifest.certificate)),
        ("Left out", counted(len(record.skipped), "sample") if record.skipped else "nothing"),
    ]
    return Section(provenance_chapter.heading, "\n".join(f"- **{name}:** {text}" for name, text in lines))


def _gating(manifest: Manifest) -> str:
    forms = {GatingForm(gate.axes[2] != "1", gate.axes[3] != "1") for gate in manifest.gates}
    return forms.pop().in_words if len(forms) == 1 else "as the model defines it"


def _gates(manifest: Manifest, summary: GateSummary) -> str:
    ranges = [
        f"{plain(kind)} in \\[{low:g}, {high:g}\\]".replace("-", "−")
        + (" (FiLM: multiplies by 1 + g)" if kind in summary.film else "")
        for kind, (low, high) in summary.ranges.items()
    ]
    needs = (
        "video, audio and query" if manifest.depends_on_text else "the video and its audio, not on the query"
    )
    return f"{counted(len(summary.layers), 'layer')}; {', '.join(ranges)}. They depend on {needs}."


def _facts(manifest: Manifest) -> str:
    facts = [
        f"{plain(name)} {plain(fact.value)} ({plain(fact.source)})" for name, fact in manifest.facts.items()
    ]
    return ", ".join(facts) or "none recorded"


def _parity(certificate: Certificate | None) -> str:
    if certificate is None:
        return "**the model carries no parity certificate**"
    worst = max(certificate.errors.items(), key=lambda item: item[1], default=None)
    largest = f"largest difference {worst[1]:.1e} ({plain(worst[0])})" if worst else "no differences recorded"
    shapes = counted(len(certificate.shapes), "batch shape")
    return (
        f"compared with {plain(certificate.compared_with)} on {shapes}, {largest}, "
        f"allowed {certificate.atol:.0e}"
    ).replace("e-", "e−")


def _verification(certificate: Certificate | None) -> str:
    verified = certificate.verification if certificate else None
    if verified is None:
        return (
            "**no**. The export was not compared with predictions that training left behind, so nothing here "
            "shows that the rebuilt model computes what the trained one does: `gatescope export --verify` "
            "compares them"
        )
    errors = ", ".join(f"{plain(name)} {error:.1e}" for name, error in verified.errors.items())
    predictions = plain(shared_name(verified.predictions))
    return (
        f"yes, against {verified.samples} predictions of training ({predictions}); "
        f"largest differences: {errors or 'none'}"
    ).replace("e-", "e−")
