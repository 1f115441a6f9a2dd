"""A profile as Chrome's trace events: what ui.perfetto.dev and chrome://tracing open.

Format: "Trace Event Format", docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU: complete events
(ph X) with ts and dur in microseconds, nested by time on one tid, and metadata events (ph M) that name the tids.
"""

from typing import Any

from .slices import Profile


def trace(profile: Profile, title: str) -> dict[str, Any]:
    """The JSON object: a tid for each stream, beginning at 0 us."""
    streams = sorted({each.stream for each in profile.slices})
    first = min((each.start for each in profile.slices), default=0.0)
    events: list[dict[str, Any]] = [_named("process_name", 0, title)]
    events += [_named("thread_name", tid, stream) for tid, stream in enumerate(streams)]
    for each in sorted(profile.slices, key=lambda each: (each.start, -each.us)):
        begin, end = (round(time - first, 3) for time in (each.start, each.end))  # to 1 ns, so that none sticks out
        events.append(
            {"name": each.name, "cat": "kernel" if each.kernel else "range", "ph": "X", "ts": begin}
            | {"dur": round(end - begin, 3), "pid": 0, "tid": streams.index(each.stream)}
            | ({"args": {"kernel": each.kernel}} if each.kernel else {})
        )
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def _named(what: str, tid: int, name: str) -> dict[str, Any]:
    return {"name": what, "ph": "M", "pid": 0, "tid": tid, "args": {"name": name}}
