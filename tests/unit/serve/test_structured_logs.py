import io
import json

from limpide.serve.structured_logs import Lines


def test_one_json_object_a_line() -> None:
    stream = io.StringIO()
    Lines(stream).write("request", route="/v1/models", status=200)
    line = json.loads(stream.getvalue())
    assert (line["event"], line["route"], line["status"]) == ("request", "/v1/models", 200)
    assert stream.getvalue().endswith("}\n")


def test_a_reader_that_left_stops_nothing() -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    lines = Lines(Gone())
    lines.write("request")
    lines.write("request")
    assert lines.stream is None
