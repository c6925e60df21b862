import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.net.Socket;

/** Threads that do requests as the victim call does. */
final class Main {
    public static void main(String[] argv) throws Exception {
        App.begin(argv);
        App.run(i -> {
            try (Socket s = new Socket(App.args.getOrDefault("host", "127.0.0.1"), App.number("port", 7000))) {
                s.setTcpNoDelay(true);
                DataOutputStream out = new DataOutputStream(s.getOutputStream());
                DataInputStream in = new DataInputStream(s.getInputStream());
                int ask = App.number("ask", 100), answer = App.number("answer", 100);
                byte[] request = new byte[ask], got = new byte[answer];
                request[2] = (byte) (ask >> 8);
                request[3] = (byte) ask;
                request[5] = (byte) (answer >> 16);
                request[6] = (byte) (answer >> 8);
                request[7] = (byte) answer;
                while (true) {
                    long t = System.nanoTime();
                    out.write(request);
                    in.readFully(got);
                    App.lost(System.nanoTime() - t);
                    App.nap(App.number("off", 0));
                }
            }
        });
    }
}
