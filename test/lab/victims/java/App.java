import java.nio.ByteOrder;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.HashMap;
import java.util.Map;

/** Shared by the victims in Java: KEY=VALUE arguments and the meter (see app.h). */
final class App {
    static final Map<String, String> args = new HashMap<>();
    private static MappedByteBuffer meter;

    static void begin(String[] argv) throws Exception {
        for (String a : argv) {
            args.put(a.substring(0, a.indexOf('=')), a.substring(a.indexOf('=') + 1));
        }
        String file = System.getenv("METER");
        if (file != null) {
            try (FileChannel c = FileChannel.open(Path.of(file), StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
                meter = c.map(FileChannel.MapMode.READ_WRITE, 0, 8);
                meter.order(ByteOrder.nativeOrder());
            }
        }
    }

    static int number(String key, int otherwise) {
        return args.containsKey(key) ? Integer.parseInt(args.get(key)) : otherwise;
    }

    static synchronized void lost(long nanos) {
        if (meter != null) {
            meter.putLong(0, meter.getLong(0) + nanos / 1000);
        }
    }

    static volatile long sink;

    static void spin(int us) {
        long end = System.nanoTime() + us * 1000L;
        long x = 1;
        while (System.nanoTime() < end) {
            for (int i = 0; i < 2000; i++) {
                x = x * 6364136223846793005L + 1;
            }
        }
        sink = x;
    }

    static void nap(int us) {
        if (us > 0) {
            try {
                Thread.sleep(us / 1000, us % 1000 * 1000);
            } catch (InterruptedException e) {
                throw new RuntimeException(e);
            }
        }
    }

    interface Body {
        void run(int i) throws Exception;
    }

    static void run(Body body) {
        for (int i = 0; i < number("threads", 1); i++) {
            int id = i;
            new Thread(() -> {
                try {
                    body.run(id);
                } catch (Exception e) {
                    e.printStackTrace();
                    System.exit(1);
                }
            }).start();
        }
        System.out.println("ready");
    }
}
