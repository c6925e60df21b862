import java.util.ArrayList;
import java.util.List;

/**
 * Threads that each allocate kb kilobytes a round in small objects, of which
 * some take the place of older ones in a set of live megabytes, and sleep for
 * off. With full=N a thread asks for a full collection every N milliseconds.
 */
final class Main {
    static final List<byte[]> live = new ArrayList<>();

    public static void main(String[] argv) throws Exception {
        App.begin(argv);
        int mb = App.number("live", 20);
        for (int i = 0; i < mb * 1024; i++) {
            live.add(new byte[1000]);
        }
        int full = App.number("full", 0);
        if (full > 0) {
            Thread t = new Thread(() -> {
                while (true) {
                    App.nap(full * 1000);
                    System.gc();
                }
            });
            t.setDaemon(true);
            t.start();
        }
        App.run(i -> {
            int kb = App.number("kb", 256), at = i * 7919;
            while (true) {
                long sum = 0;
                for (int k = 0; k < kb; k++) {
                    byte[] b = new byte[1000];
                    sum += b.length;
                    if (k % 16 == 0 && !live.isEmpty()) {
                        live.set(at = (at + 127) % live.size(), b);
                    }
                }
                App.sink = sum;
                App.nap(App.number("off", 0));
            }
        });
    }
}
