"""What is wrong in an app is said with its line, when it is loaded."""

from __future__ import annotations

import pytest

from umbrella import DeclarationError, UmbrellaError

from .conftest import Loader

_SPLIT = """
class Split(Bolt):
    class Default(Stream):
        fields = "word"

    def process(self, input):
        yield from input.line.split()
"""


def check(app: Loader, text: str, message: str) -> None:
    """The app has this error, in the line that ends with `# here`."""
    with pytest.raises(DeclarationError) as raised:
        app(text)
    error = raised.value
    assert message in error.message
    assert error.place is not None
    assert error.place.source().endswith("# here"), f"{error} is at: {error.place.source()}"


def test_a_stream_needs_fields(app: Loader) -> None:
    check(
        app,
        """
        class A(Bolt):
            class Default(Stream):  # here
                pass
        """,
        "stream 'Default' needs 1 to 32 fields",
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("'a b a'", "has the field 'a' twice"),
        ("'a 1b'", "has a field '1b'"),
        ("['a', 3]", "has a field 3"),
        ("7", "needs 1 to 32 fields"),
        ("' '.join(f'f{n}' for n in range(33))", "needs 1 to 32 fields"),
    ],
)
def test_fields_are_names(app: Loader, fields: str, message: str) -> None:
    check(app, f"class Default(Stream):  # here\n    fields = {fields}\n", message)


def test_a_misspelt_setting_of_a_stream_is_found(app: Loader) -> None:
    check(app, "class Default(Stream):  # here\n    feilds = 'a'\n    fields = 'a'\n", "has no setting 'feilds'")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("yield input.a, 1", "yields 2 values to the stream 'default', which has 1 field: word"),
        ("yield 'x', 'y', 'z'", "yields 3 values"),
        ("yield self.Pair(1)", "emits 1 value to the stream 'pair', which has 2 fields: left, right"),
        ("yield self.Pair(1, middle=2)", "has no field 'middle'; it has 'left', 'right'"),
        ("yield self.Pear(1, 2)", "has no stream 'Pear'; it has 'Default', 'Pair'"),
        ("self.emit(1, 2)", "emits 2 values to the stream 'default'"),
        ("self.emit(wrod=1)", "has no field 'wrod'"),
        ("self.emit(1, stream=self.Pair)", "emits 1 value to the stream 'pair'"),
        ("self.emit(self.Pair(1, 2, 3))", "emits 3 values to the stream 'pair'"),
        ("return input.a, 1", "returns 2 values"),
    ],
)
def test_what_is_emitted_fits_the_stream(app: Loader, line: str, message: str) -> None:
    check(
        app,
        f"""
class A(Bolt):
    class Default(Stream):
        fields = "word"

    class Pair(Stream):
        fields = "left right"

    def process(self, input):
        if input:
            {line}  # here
""",
        message,
    )


@pytest.mark.parametrize(
    "line",
    [
        "yield input.a",
        "yield (input.a,)",
        "yield (*input,)",
        "yield self.Pair(*input)",
        "yield self.Pair(left=1, right=2)",
        "yield",
        "yield None",
        "self.emit(self.Pair(1, 2))",
        "self.emit(1, 2, stream=self.Pair)",
        "self.emit('a', anchors=[])",
        "return [1, 2]",
        "return (lambda: (1, 2))()",
        "yield [1, 2, 3]",
        "self.Other = int; self.Other(3)",
    ],
)
def test_what_fits_or_cannot_be_known_is_let_pass(app: Loader, line: str) -> None:
    app(
        f"""
class A(Bolt):
    class Default(Stream):
        fields = "word"

    class Pair(Stream):
        fields = "left right"

    def process(self, input):
        {line}

class T(Topology):
    numbers = GeneratorSpout(fields="a")
    bolt = A(inputs=numbers)
    out = StdoutBolt(inputs=[bolt, bolt.Pair])
"""
    )


def test_a_bolt_without_streams_emits_nothing(app: Loader) -> None:
    check(
        app,
        """
        class A(Bolt):
            def process(self, input):
                yield input.a  # here
        """,
        "yields to the stream 'default', but it has no streams; declare `class Default(Stream): fields = ...` in it",
    )


def test_functions_are_checked_as_classes_are(app: Loader) -> None:
    check(app, "@bolt('a b')\ndef f(input):\n    yield 1, 2, 3  # here\n", "'f' yields 3 values")
    for one in ["input.x", "input['x']", "input[0]"]:
        check(app, f"@bolt('a b')\ndef f(input):\n    yield {one}  # here\n", "'f' yields 1 value")
    # It is another thing by then.
    other = "@bolt('a b')\ndef f(input):\n    input = make(input)\n    yield input.pair\n"
    app(
        other
        + "class T(Topology):\n    one = GeneratorSpout()\n    two = f(inputs=one)\n    out = StdoutBolt(inputs=two)\n"
    )
    rejected = "class Rejected(Stream):\n    fields = 'why how'\n"
    check(app, rejected + "@bolt(Rejected)\ndef f(input):\n    yield Rejected(1)  # here\n", "'f' emits 1 value")
    check(
        app,
        "@bolt('a')\ndef f(x, y):\n    return 1\n".replace("@bolt('a')", "@bolt('a')  # here"),
        "called as `f(input)`",
    )
    check(app, "@spout('a')  # here\ndef f():\n    return 1\n", "'f' is no generator")


def test_methods_take_what_they_are_called_with(app: Loader) -> None:
    check(app, "class A(Bolt):\n    def process(self):  # here\n        pass\n", "called as `process(self, input)`")
    check(app, "class A(Spout):\n    def next(self, room):  # here\n        pass\n", "called as `next(self)`")
    check(
        app,
        "class A(Bolt):\n    def process(self, input): ...\n    def tick(self):  # here\n        pass\n",
        'say how often: `tick_every = "1s"`',
    )


def test_a_field_that_the_input_does_not_have_is_found_where_it_is_read(app: Loader) -> None:
    check(
        app,
        """
        @bolt("word")
        def split(input):
            yield from input.lien.split()  # here

        class T(Topology):
            lines = FileSpout(path="text")
            words = split(inputs=lines)
            out = StdoutBolt(inputs=words)
        """,
        "'words' reads the field 'lien', which its input does not have; it has 'line'",
    )
    check(
        app,
        """
        class T(Topology):
            lines = FileSpout(path="text", fields="text")
            words = SplitBolt(inputs=lines)  # here
            out = StdoutBolt(inputs=words)
        """,
        "'words' needs the field 'line'",
    )


_GRAPHS = [
    ("words = Split(inputs=FieldsGrouping(lines, 'word'))  # here", "groups by the field 'word'"),
    ("words = Split(inputs=lines.Rejected)  # here", None),
    ("words = Split(inputs=Split)  # here", "reads <class"),
    ("words = Split(inputs=SplitBolt())  # here", "which is not in the topology"),
    ("words = Split()  # here", "'words' is not connected: it reads nothing"),
    ("words = Split(inputs=[lines, GlobalGrouping(lines)])  # here", "reads stream 'default' of 'lines' twice"),
    ("words = Split(inputs=DirectGrouping(lines))  # here", "is not direct"),
    ("words = Split(0, inputs=lines)  # here", "a number from 1 to 1024"),
    ("words = Split('3', inputs=lines)  # here", "a number from 1 to 1024"),
    ("words = Split(inputs=lines, name='Words')  # here", "has no name that Kubernetes takes"),
]


@pytest.mark.parametrize(("line", "message"), [graph for graph in _GRAPHS if graph[1] is not None])
def test_what_is_connected_wrongly_is_found_at_its_line(app: Loader, line: str, message: str) -> None:
    text = f"""{_SPLIT}
class T(Topology):
    lines = FileSpout(path="text")
    {line}
    out = StdoutBolt(inputs=words)
"""
    check(app, text, message)


def test_a_stream_that_nobody_reads_is_found_unless_it_may_be(app: Loader) -> None:
    check(
        app,
        f"""{_SPLIT}
class T(Topology):
    lines = FileSpout(path="text")
    words = Split(inputs=lines)  # here
""",
        "nobody reads stream 'default' of 'words'",
    )
    two = """
class A(Bolt):
    class Default(Stream):
        fields = "a"

    class Rejected(Stream):  # here
        fields = "b"
        optional = False

    def process(self, input):
        yield 1

class T(Topology):
    numbers = GeneratorSpout()
    a = A(inputs=numbers)
    out = StdoutBolt(inputs=a)
"""
    check(app, two, "nobody reads stream 'rejected' of 'a'")
    app(two.replace("optional = False", "optional = True"))


def test_components_that_no_spout_reaches_and_topologies_without_one_are_found(app: Loader) -> None:
    check(
        app,
        f"""{_SPLIT}
class T(Topology):
    numbers = GeneratorSpout(fields="line")
    out = StdoutBolt(inputs=numbers)
    one = Split()  # here
    two = SplitBolt(field="word", fields="line", inputs=one)
    one.inputs.append(two)
""",
        "'one' is not connected: no spout reaches it",
    )
    check(app, f"{_SPLIT}\nclass T(Topology):  # here\n    one = Split()\n", "has no spout")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("numbers = GeneratorSpout", "is the class 'GeneratorSpout'; call it"),
        ("workers = 0", "it is from 1 to 64"),
        ("name = 'A_B'", "has no name that Kubernetes takes"),
        ("delivery = 'AtMostOnce'", "takes 'Delivery'"),
        ("requirements = ['a b']", "requirement 'a b' is not understood"),
    ],
)
def test_settings_of_a_topology_are_checked(app: Loader, line: str, message: str) -> None:
    check(app, f"class T(Topology):  # here\n    {line}\n", message)


def test_a_component_named_as_a_setting_is_told_so(app: Loader) -> None:
    check(app, "class T(Topology):\n    workers = GeneratorSpout()  # here\n", "give the component another name")


def test_the_streams_of_a_component_have_names_of_their_own(app: Loader) -> None:
    check(
        app,
        """
        class A(Bolt):
            class Default(Stream):
                fields = "a"
            class Other(Stream):  # here
                fields = "a"
                name = "default"
        """,
        "has two streams 'default': 'Default' and 'Other'",
    )


def test_what_is_used_outside_of_its_place_is_told_so(app: Loader) -> None:
    check(app, f"{_SPLIT}\nSplit().emit('x')  # here\n", "is declared here and not at work")
    check(app, "class T(Topology): ...\nT()  # here\n", "a topology has no instances")
    check(app, "Bolt()  # here\n", "write a class of your own")
    check(app, "class A(Spout):  # here\n    def next(self): ...\n    def generate(self): ...\n", "one of them")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "has no topology"),
        (
            "class A(Topology):\n    a = GeneratorSpout()\n    b = StdoutBolt(inputs=a)\nclass B(A):\n    pass\n",
            "has several topologies: 'A', 'B'; say which: ",
        ),
    ],
)
def test_the_topology_that_is_meant_must_be_clear(app: Loader, text: str, message: str) -> None:
    with pytest.raises(UmbrellaError, match=message):
        app(text)


def test_a_stream_that_a_component_does_not_have_is_found_where_it_is_read(app: Loader) -> None:
    check(
        app,
        _SPLIT
        + """
class Words(Topology):
    lines = FileSpout(path="text/*")
    words = Split(inputs=lines)
    out = StdoutBolt(inputs=words.Rejected)  # here
""",
        "'Split' has no stream 'Rejected'; it has 'Default'",
    )
