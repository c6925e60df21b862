/** Threads that compute for on microseconds and sleep for off. */
final class Main {
    public static void main(String[] argv) throws Exception {
        App.begin(argv);
        App.run(i -> {
            while (true) {
                App.spin(App.number("on", 10000));
                App.nap(App.number("off", 0));
            }
        });
    }
}
