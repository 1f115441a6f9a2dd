"""What Chrome's trace-event format asks of a trace; its text is named in gpucnn/measure/trace.py."""

import json


def check_trace(text):
    """The complete events of a JSON text; AssertionError where it breaks the format, or events of a tid overlap."""
    trace = json.loads(text)
    assert isinstance(trace["traceEvents"], list) and trace.get("displayTimeUnit") in ("ms", "ns")
    complete, named = [], set()
    for event in trace["traceEvents"]:
        assert isinstance(event["name"], str) and isinstance(event["pid"], int) and isinstance(event["tid"], int)
        assert isinstance(event.get("args", {}), dict)
        if event["ph"] == "M":
            assert event["name"] in ("process_name", "thread_name") and isinstance(event["args"]["name"], str)
            named.add(event["tid"])
        else:
            assert event["ph"] == "X" and event["ts"] >= 0 and event["dur"] >= 0
            complete.append(event)
    assert {event["tid"] for event in complete} <= named, "a stream without a name"
    for tid in named:
        around = []
        for event in sorted((e for e in complete if e["tid"] == tid), key=lambda e: (e["ts"], -e["dur"])):
            end = event["ts"] + event["dur"]
            while around and around[-1] <= event["ts"] + 1e-6:  # a thousandth of a nanosecond: sums of floats
                around.pop()
            assert not around or end <= around[-1] + 1e-6, f"{event} begins inside another and ends behind it"
            around.append(end)
    return complete
