package dev.waterspout.bench;

import java.io.IOException;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.LongSupplier;
import org.apache.storm.Config;
import org.apache.storm.LocalCluster;
import org.apache.storm.spout.SpoutOutputCollector;
import org.apache.storm.task.OutputCollector;
import org.apache.storm.task.ShellBolt;
import org.apache.storm.task.TopologyContext;
import org.apache.storm.topology.IRichBolt;
import org.apache.storm.topology.OutputFieldsDeclarer;
import org.apache.storm.topology.TopologyBuilder;
import org.apache.storm.topology.base.BaseRichBolt;
import org.apache.storm.topology.base.BaseRichSpout;
import org.apache.storm.tuple.Fields;
import org.apache.storm.tuple.Tuple;
import org.apache.storm.tuple.Values;

/** One workload in Storm, in one process. Prints its figures. */
public final class Main {
  private static final AtomicLong ACKED = new AtomicLong();
  private static final long WARM_UP_MILLIS = 5_000;
  private static final long WINDOW_MILLIS = 3_000;
  private static final long PATIENCE_MILLIS = 60_000;

  private Main() {}

  public static void main(String[] args) throws Exception {
    // What logs to standard output is not to be among the figures.
    PrintStream figures = System.out;
    System.setOut(System.err);
    String workload = args[0];
    Config config = new Config();
    config.setNumWorkers(1);
    boolean plain = Plain.has(workload);
    TopologyBuilder builder =
        plain ? Plain.graph(workload, config, args[3]) : script(config, args[1], args[2]);
    LongSupplier done = plain ? Plain::done : ACKED::get;
    try (LocalCluster cluster = new LocalCluster();
        LocalCluster.LocalTopology topology =
            cluster.submitTopology("bench", config, builder.createTopology())) {
      long until = System.currentTimeMillis() + PATIENCE_MILLIS;
      while (done.getAsLong() == 0) {
        if (System.currentTimeMillis() > until) {
          throw new IOException("no tuple came through within 60 s");
        }
        Thread.sleep(10);
      }
      // Longer than for Waterspout: the virtual machine compiles what it runs.
      Thread.sleep(WARM_UP_MILLIS);
      long before = done.getAsLong();
      long cpu = childTicks();
      long from = System.nanoTime();
      Thread.sleep(WINDOW_MILLIS);
      double seconds = (System.nanoTime() - from) / 1e9;
      double rate = (done.getAsLong() - before) / seconds;
      double busy = (childTicks() - cpu) / 100.0 / seconds * 100;
      String unit = plain ? "roots/s" : "tuples/s";
      figures.printf("{\"suffix\": \"\", \"unit\": \"%s\", \"value\": %.1f}%n", unit, rate);
      if (!plain) {
        figures.printf("{\"suffix\": \"-busy\", \"unit\": \"%% of a core\", \"value\": %.1f}%n", busy);
      }
      figures.flush();
      // The cluster's own end may fail by a timer of a worker that is gone.
      Runtime.getRuntime().halt(0);
    }
  }

  /** A spout, a bolt in Python by multilang, a sink. */
  private static TopologyBuilder script(Config config, String python, String file) {
    TopologyBuilder builder = new TopologyBuilder();
    builder.setSpout("spout", new Pairs(), 1);
    builder.setBolt("script", new Script(python, file), 1).shuffleGrouping("spout");
    builder.setBolt("null", new Null(), 1).shuffleGrouping("script");
    config.setMaxSpoutPending(4096);
    return builder;
  }

  /** CPU time of the programs that this process has started, in hundredths of a second. */
  private static long childTicks() {
    return ProcessHandle.current().descendants().mapToLong(child -> {
      try {
        String stat = Files.readString(Path.of("/proc/" + child.pid() + "/stat"));
        String[] fields = stat.substring(stat.lastIndexOf(')') + 2).split(" ");
        return Long.parseLong(fields[11]) + Long.parseLong(fields[12]);
      } catch (IOException gone) {
        return 0L;
      }
    }).sum();
  }

  /** Emits pairs as fast as they are taken, each with an id. */
  public static final class Pairs extends BaseRichSpout {
    private transient SpoutOutputCollector out;
    private long next;

    @Override
    public void open(Map<String, Object> config, TopologyContext context, SpoutOutputCollector out) {
      this.out = out;
    }

    @Override
    public void nextTuple() {
      next++;
      out.emit(new Values("constant", next), next);
    }

    @Override
    public void ack(Object id) {
      ACKED.incrementAndGet();
    }

    @Override
    public void declareOutputFields(OutputFieldsDeclarer declarer) {
      declarer.declare(new Fields("word", "number"));
    }
  }

  /** The bolt in Python. */
  public static final class Script extends ShellBolt implements IRichBolt {
    Script(String python, String file) {
      super(python, file);
      // It is not in a jar of the topology.
      changeChildCWD(false);
    }

    @Override
    public void declareOutputFields(OutputFieldsDeclarer declarer) {
      declarer.declare(new Fields("word", "number"));
    }

    @Override
    public Map<String, Object> getComponentConfiguration() {
      return null;
    }
  }

  /** Acknowledges and drops. */
  public static final class Null extends BaseRichBolt {
    private transient OutputCollector out;

    @Override
    public void prepare(Map<String, Object> config, TopologyContext context, OutputCollector out) {
      this.out = out;
    }

    @Override
    public void execute(Tuple tuple) {
      out.ack(tuple);
    }

    @Override
    public void declareOutputFields(OutputFieldsDeclarer declarer) {}
  }
}
