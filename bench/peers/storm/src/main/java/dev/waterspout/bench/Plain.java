package dev.waterspout.bench;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLongArray;
import org.apache.storm.Config;
import org.apache.storm.spout.SpoutOutputCollector;
import org.apache.storm.task.OutputCollector;
import org.apache.storm.task.TopologyContext;
import org.apache.storm.topology.OutputFieldsDeclarer;
import org.apache.storm.topology.TopologyBuilder;
import org.apache.storm.topology.base.BaseRichBolt;
import org.apache.storm.topology.base.BaseRichSpout;
import org.apache.storm.tuple.Fields;
import org.apache.storm.tuple.Tuple;
import org.apache.storm.tuple.Values;

/** The workloads whose components are all in Java: graphs, and how many roots went through. */
final class Plain {
  /** Roots that are done, or tuples that reached the end where nothing is tracked, by task; published now and then. */
  private static final AtomicLongArray DONE = new AtomicLongArray(64);
  /** Tuples after which a task publishes. */
  private static final int OFTEN = 255;
  /** What the trials of others found fastest with acknowledgements. */
  private static final int PENDING = 20_000;

  private Plain() {}

  static boolean has(String workload) {
    return switch (workload) {
      case "hop-untracked", "hop-acked", "hop-acked-wide", "wordcount-acked" -> true;
      default -> false;
    };
  }

  /** Tuples at the end for each root. */
  static long done() {
    long sum = 0;
    for (int task = 0; task < DONE.length(); task++) {
      sum += DONE.get(task);
    }
    return sum;
  }

  static TopologyBuilder graph(String workload, Config config, String sentences) throws IOException {
    TopologyBuilder builder = new TopologyBuilder();
    boolean tracked = !workload.equals("hop-untracked");
    config.setNumAckers(tracked ? 1 : 0);
    config.setMaxSpoutPending(PENDING);
    // Batches between threads, and a pause that gives the processor away: without them it is twice as slow.
    config.put(Config.TOPOLOGY_PRODUCER_BATCH_SIZE, 1000);
    config.put(Config.TOPOLOGY_BATCH_FLUSH_INTERVAL_MILLIS, 1);
    config.put(Config.TOPOLOGY_DISABLE_LOADAWARE_MESSAGING, true);
    if (workload.equals("wordcount-acked")) {
      List<String> pool = Files.readAllLines(Path.of(sentences));
      builder.setSpout("spout", new Constant(tracked, pool.toArray(String[]::new)), 1);
      builder.setBolt("split", new Split(), 2).shuffleGrouping("spout");
      builder.setBolt("count", new Count(), 2).fieldsGrouping("split", new Fields("text"));
    } else {
      int tasks = workload.equals("hop-acked-wide") ? 2 : 1;
      builder.setSpout("spout", new Constant(tracked, new String[] {"constant"}), 1);
      builder.setBolt("identity", new Identity(), tasks).shuffleGrouping("spout");
      builder.setBolt("null", new Null(!tracked), tasks).shuffleGrouping("identity");
    }
    return builder;
  }

  /** Counts what one task did. */
  private static final class Seen {
    private final int task;
    private long count;

    Seen(TopologyContext context) {
      task = context.getThisTaskId() % DONE.length();
    }

    void one() {
      if ((++count & OFTEN) == 0) {
        DONE.lazySet(task, count);
      }
    }
  }

  /** Emits texts of a pool as fast as they are taken. */
  private static final class Constant extends BaseRichSpout {
    private final boolean tracked;
    private final String[] pool;
    private transient SpoutOutputCollector out;
    private transient Seen seen;
    private long next;

    Constant(boolean tracked, String[] pool) {
      this.tracked = tracked;
      this.pool = pool;
    }

    @Override
    public void open(Map<String, Object> config, TopologyContext context, SpoutOutputCollector out) {
      this.out = out;
      seen = new Seen(context);
    }

    @Override
    public void nextTuple() {
      String text = pool.length == 1 ? pool[0] : pool[(int) Long.remainderUnsigned(scatter(next), pool.length)];
      next++;
      if (tracked) {
        out.emit(new Values(text), next);
      } else {
        out.emit(new Values(text));
      }
    }

    /** Spreads neighbouring numbers as the spout of Waterspout does (the finaliser of SplitMix64). */
    private static long scatter(long number) {
      long z = number + 0x9e3779b97f4a7c15L;
      z = (z ^ (z >>> 30)) * 0xbf58476d1ce4e5b9L;
      z = (z ^ (z >>> 27)) * 0x94d049bb133111ebL;
      return z ^ (z >>> 31);
    }

    @Override
    public void ack(Object id) {
      seen.one();
    }

    @Override
    public void declareOutputFields(OutputFieldsDeclarer declarer) {
      declarer.declare(new Fields("text"));
    }
  }

  private abstract static class Bolt extends BaseRichBolt {
    transient OutputCollector out;
    transient Seen seen;

    @Override
    public void prepare(Map<String, Object> config, TopologyContext context, OutputCollector out) {
      this.out = out;
      seen = new Seen(context);
    }

    @Override
    public void declareOutputFields(OutputFieldsDeclarer declarer) {
      declarer.declare(new Fields("text"));
    }
  }

  private static final class Identity extends Bolt {
    @Override
    public void execute(Tuple tuple) {
      out.emit(tuple, new Values(tuple.getValue(0)));
      out.ack(tuple);
    }
  }

  private static final class Null extends Bolt {
    private final boolean counts;

    Null(boolean counts) {
      this.counts = counts;
    }

    @Override
    public void execute(Tuple tuple) {
      out.ack(tuple);
      if (counts) {
        seen.one();
      }
    }
  }

  /** One tuple a word. */
  private static final class Split extends Bolt {
    @Override
    public void execute(Tuple tuple) {
      String sentence = tuple.getString(0);
      int from = 0;
      for (int at = sentence.indexOf(' '); at >= 0; at = sentence.indexOf(' ', from)) {
        out.emit(tuple, new Values(sentence.substring(from, at)));
        from = at + 1;
      }
      out.emit(tuple, new Values(sentence.substring(from)));
      out.ack(tuple);
    }
  }

  /** Counts by word, and keeps the counts. */
  private static final class Count extends Bolt {
    private final HashMap<String, Long> counts = new HashMap<>();

    @Override
    public void execute(Tuple tuple) {
      counts.merge(tuple.getString(0), 1L, Long::sum);
      out.ack(tuple);
    }
  }
}
