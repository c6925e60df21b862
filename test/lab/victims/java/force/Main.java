import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/** Threads that each write a block to a file below dir and force it to the disk. */
final class Main {
    public static void main(String[] argv) throws Exception {
        App.begin(argv);
        App.run(i -> {
            FileChannel c = FileChannel.open(Path.of(App.args.get("dir"), "log-" + i), StandardOpenOption.CREATE, StandardOpenOption.WRITE);
            ByteBuffer b = ByteBuffer.allocateDirect(4096);
            for (long k = 0;; k++) {
                long t = System.nanoTime();
                b.clear();
                c.write(b, k % 256 * 4096);
                c.force(false);
                App.lost(System.nanoTime() - t);
                App.nap(App.number("off", 0));
            }
        });
    }
}
