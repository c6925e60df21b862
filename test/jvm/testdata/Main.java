// SPDX-License-Identifier: Apache-2.0

import java.util.ArrayDeque;
import java.util.concurrent.locks.ReentrantLock;

/**
 * Work with known pauses: java Main MODE THREADS KILOBYTES, which prints "ready"
 * and runs until it is killed.
 *
 * garbage: each thread makes garbage without a rest and keeps KILOBYTES of small
 * objects alive, which every collection has to walk through.
 *
 * lock: the threads wait for each other's lock, and make no garbage.
 *
 * compute: the threads compute, and make no garbage.
 *
 * idle: the threads sleep.
 */
public class Main {
    static volatile long sink;
    static final ReentrantLock lock = new ReentrantLock();

    public static void main(String[] args) {
        int kilobytes = Integer.parseInt(args[2]);
        Runnable work;
        switch (args[0]) {
            case "garbage": work = () -> garbage(kilobytes); break;
            case "lock": work = Main::contend; break;
            case "compute": work = Main::compute; break;
            default: work = Main::idle;
        }
        for (int i = 0; i < Integer.parseInt(args[1]); i++) {
            new Thread(work, "worker-" + i).start();
        }
    }

    static void ready() {
        System.out.println("ready");
    }

    static void garbage(int kilobytes) {
        ArrayDeque<Object[]> alive = new ArrayDeque<>();
        while (alive.size() < kilobytes * 16) { // 64 bytes each
            alive.add(new Object[] {alive.peekLast(), null, null, null, null, null, null, null, null, null, null, null});
        }
        ready();
        while (true) {
            Object[] last = alive.removeFirst();
            last[0] = null; // no chain from the first to the last
            alive.add(new Object[] {alive.peekLast(), null, null, null, null, null, null, null, null, null, null, null});
        }
    }

    static void contend() {
        ready();
        while (true) {
            lock.lock();
            try {
                spin(2);
            } finally {
                lock.unlock();
            }
        }
    }

    static void compute() {
        ready();
        while (true) {
            spin(1000);
        }
    }

    static void idle() {
        ready();
        try {
            Thread.sleep(Long.MAX_VALUE);
        } catch (InterruptedException e) {
            return;
        }
    }

    /** Takes CPU for some milliseconds. */
    static void spin(int millis) {
        long end = System.nanoTime() + millis * 1_000_000L, x = sink;
        while (System.nanoTime() < end) {
            x = x * 31 + 7;
        }
        sink = x;
    }
}
