import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/** A fixed thread pool that waits for work; a job of on microseconds comes every gap. */
final class Main {
    public static void main(String[] argv) throws Exception {
        App.begin(argv);
        int n = App.number("threads", 16);
        ExecutorService pool = Executors.newFixedThreadPool(n);
        for (int i = 0; i < n; i++) {
            pool.submit(() -> App.nap(50000));
        }
        System.out.println("ready");
        while (true) {
            App.nap(App.number("gap", 2000000000));
            pool.submit(() -> App.spin(App.number("on", 1000)));
        }
    }
}
