"""Umbrella: Waterspout topologies in Python.

::

    from umbrella import Bolt, FileSpout, KeyedState, StdoutBolt, Stream, Topology, FieldsGrouping, bolt

    @bolt("word")
    def split(input):
        yield from input.line.split()

    class Count(Bolt):
        class Default(Stream):
            fields = "word count"

        counts = KeyedState(int)

        def process(self, input):
            self.counts[input.word] += 1
            yield input.word, self.counts[input.word]

    class WordCount(Topology):
        lines = FileSpout(path="text/*")
        splits = split(2, inputs=lines)
        counts = Count(2, inputs=FieldsGrouping(splits, "word"))
        out = StdoutBolt(inputs=counts)

`umbrella run app.py` runs it, `umbrella deploy app.py` brings it to a cluster.
"""

from .builtin import (
    BuiltinBolt,
    BuiltinSpout,
    CommandBolt,
    CommandSpout,
    CountBolt,
    FileBolt,
    FileSpout,
    GeneratorSpout,
    JavaScriptBolt,
    RedisBolt,
    RedisSpout,
    RustBolt,
    RustSpout,
    ShellBolt,
    SplitBolt,
    StdoutBolt,
)
from .components import Bolt, Component, Limits, Spout
from .errors import DeclarationError, EmitError, Fail, ToolError, UmbrellaError
from .functions import bolt, spout
from .groupings import (
    AllGrouping,
    DirectGrouping,
    FieldsGrouping,
    GlobalGrouping,
    Grouping,
    LocalOrShuffleGrouping,
    NoneGrouping,
    PartialKeyGrouping,
    ShuffleGrouping,
)
from .inputs import Input
from .runtime import Held, Source
from .state import KeyedState
from .streams import Stream
from .topology import Delivery, Topology

__version__ = "0.1.0"

__all__ = [
    "AllGrouping",
    "Bolt",
    "BuiltinBolt",
    "BuiltinSpout",
    "CommandBolt",
    "CommandSpout",
    "Component",
    "CountBolt",
    "DeclarationError",
    "Delivery",
    "DirectGrouping",
    "EmitError",
    "Fail",
    "FieldsGrouping",
    "FileBolt",
    "FileSpout",
    "GeneratorSpout",
    "GlobalGrouping",
    "Grouping",
    "Held",
    "Input",
    "JavaScriptBolt",
    "KeyedState",
    "Limits",
    "LocalOrShuffleGrouping",
    "NoneGrouping",
    "PartialKeyGrouping",
    "RedisBolt",
    "RedisSpout",
    "RustBolt",
    "RustSpout",
    "ShellBolt",
    "ShuffleGrouping",
    "Source",
    "SplitBolt",
    "Spout",
    "StdoutBolt",
    "Stream",
    "ToolError",
    "Topology",
    "UmbrellaError",
    "bolt",
    "spout",
]
