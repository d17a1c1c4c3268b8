package dev.waterspout.bench;

import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.atomic.AtomicLongArray;
import org.apache.flink.api.common.functions.FlatMapFunction;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.core.execution.JobClient;
import org.apache.flink.streaming.api.datastream.SingleOutputStreamOperator;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.streaming.api.functions.ProcessFunction;
import org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink;
import org.apache.flink.util.Collector;

/** One workload in Flink, in one process. Prints its figures. */
public final class Main {
  private static final long WARM_UP_MILLIS = 5_000;
  private static final long WINDOW_MILLIS = 3_000;
  private static final long PATIENCE_MILLIS = 60_000;
  /** What each task at the end has seen; published now and then, so that counting costs little. */
  private static final AtomicLongArray SEEN = new AtomicLongArray(16);

  private Main() {}

  public static void main(String[] args) throws Exception {
    // What logs to standard output is not to be among the figures.
    PrintStream figures = System.out;
    System.setOut(System.err);
    switch (args[0]) {
      case "hop-untracked" -> {
        print(figures, "", measure(env -> hop(env, true)));
        print(figures, "-chained", measure(env -> hop(env, false)));
      }
      case "wordcount-acked" -> {
        List<String> sentences = Files.readAllLines(Path.of(args[1]));
        long words = sentences.get(0).split(" ").length;
        print(figures, "-untracked", measure(env -> words(env, sentences)) / words);
      }
      default -> throw new IllegalArgumentException(args[0]);
    }
    figures.flush();
    System.exit(0);
  }

  private static void print(PrintStream figures, String suffix, double rate) {
    figures.printf("{\"suffix\": \"%s\", \"unit\": \"roots/s\", \"value\": %.1f}%n", suffix, rate);
  }

  private interface Graph {
    void build(StreamExecutionEnvironment env);
  }

  /** Tuples a second at the end of a graph. */
  private static double measure(Graph graph) throws Exception {
    StreamExecutionEnvironment env = StreamExecutionEnvironment.createLocalEnvironment(1);
    // Without it each hand-over within a chain copies the record.
    env.getConfig().enableObjectReuse();
    graph.build(env);
    JobClient job = env.executeAsync();
    long before = seen();
    long until = System.currentTimeMillis() + PATIENCE_MILLIS;
    while (seen() == before) {
      if (System.currentTimeMillis() > until) {
        throw new IllegalStateException("no tuple came through within 60 s");
      }
      Thread.sleep(10);
    }
    // Longer than for Waterspout: the virtual machine compiles what it runs.
    Thread.sleep(WARM_UP_MILLIS);
    before = seen();
    long from = System.nanoTime();
    Thread.sleep(WINDOW_MILLIS);
    double rate = (seen() - before) / ((System.nanoTime() - from) / 1e9);
    job.cancel().get();
    return rate;
  }

  private static long seen() {
    long sum = 0;
    for (int task = 0; task < SEEN.length(); task++) {
      sum += SEEN.get(task);
    }
    return sum;
  }

  /** A constant, an identity, a null: each in a thread of its own, or all in one chain of calls. */
  private static void hop(StreamExecutionEnvironment env, boolean apart) {
    SingleOutputStreamOperator<String> source =
        env.fromSequence(0, Long.MAX_VALUE - 1).map(number -> "constant").returns(Types.STRING);
    SingleOutputStreamOperator<String> identity = source.map(text -> text).returns(Types.STRING);
    SingleOutputStreamOperator<String> end =
        (apart ? identity.startNewChain() : identity).process(new End()).returns(Types.STRING);
    (apart ? end.startNewChain() : end).sinkTo(new DiscardingSink<>());
  }

  /** Sentences, words, counts by word that are kept and not emitted: one source, two splits, two counts. */
  private static void words(StreamExecutionEnvironment env, List<String> sentences) {
    int pool = sentences.size();
    env.fromSequence(0, Long.MAX_VALUE - 1)
        .map(number -> sentences.get((int) Long.remainderUnsigned(scatter(number), pool)))
        .returns(Types.STRING)
        .rebalance()
        .flatMap(new Split())
        .setParallelism(2)
        .keyBy(word -> word)
        .process(new Count())
        .setParallelism(2)
        .sinkTo(new DiscardingSink<>())
        .setParallelism(2);
  }

  /** Spreads neighbouring numbers as the spout of Waterspout does (the finaliser of SplitMix64). */
  private static long scatter(long number) {
    long z = number + 0x9e3779b97f4a7c15L;
    z = (z ^ (z >>> 30)) * 0xbf58476d1ce4e5b9L;
    z = (z ^ (z >>> 27)) * 0x94d049bb133111ebL;
    return z ^ (z >>> 31);
  }

  /** One tuple a word. */
  private static final class Split implements FlatMapFunction<String, String> {
    @Override
    public void flatMap(String sentence, Collector<String> out) {
      int from = 0;
      for (int at = sentence.indexOf(' '); at >= 0; at = sentence.indexOf(' ', from)) {
        out.collect(sentence.substring(from, at));
        from = at + 1;
      }
      out.collect(sentence.substring(from));
    }
  }

  /** Counts by word, on the heap. */
  private static final class Count extends KeyedProcessFunction<String, String, String> {
    private transient ValueState<Long> count;
    private transient long seen;

    @Override
    public void open(OpenContext context) {
      count = getRuntimeContext().getState(new ValueStateDescriptor<>("count", Types.LONG));
      seen = SEEN.get(getRuntimeContext().getTaskInfo().getIndexOfThisSubtask());
    }

    @Override
    public void processElement(String word, Context context, Collector<String> out) throws Exception {
      Long before = count.value();
      count.update(before == null ? 1 : before + 1);
      if ((++seen & 1023) == 0) {
        SEEN.lazySet(getRuntimeContext().getTaskInfo().getIndexOfThisSubtask(), seen);
      }
    }
  }

  /** Counts and drops. */
  private static final class End extends ProcessFunction<String, String> {
    private transient long seen;

    @Override
    public void open(OpenContext context) {
      seen = SEEN.get(0);
    }

    @Override
    public void processElement(String text, Context context, Collector<String> out) {
      if ((++seen & 1023) == 0) {
        SEEN.lazySet(0, seen);
      }
    }
  }
}
