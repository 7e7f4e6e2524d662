// The herd's client port in blocking Java: a thread for each connection, virtual where the JDK has
// them (21 and later), the system's where not.
//
// Answers are flushed when no more input is waiting. IAMAT and `? line` only. Left out: WHATSAT,
// peers, limits, logs, exact skews (doubles here).

import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

public final class JavaThreads {
    private static final Pattern IAMAT = Pattern.compile(
        "\\s*IAMAT\\s+(\\S+)\\s+([+-]\\d+(?:\\.\\d+)?[+-]\\d+(?:\\.\\d+)?)\\s+(\\d+(?:\\.\\d+)?)\\s*");

    record Report(double sent, String position, String stamp) {}

    private static final ConcurrentHashMap<String, Report> newest = new ConcurrentHashMap<>();

    public static void main(String[] arguments) throws IOException {
        int port = Integer.parseInt(arguments[0]);
        ExecutorService threads = threads();
        try (ServerSocket server = new ServerSocket(port, 4096, InetAddress.getLoopbackAddress())) {
            while (true) {
                Socket client = server.accept();
                threads.execute(() -> serve(client));
            }
        }
    }

    static ExecutorService threads() {
        try {
            // By its name, so that an older JDK can compile this.
            return (ExecutorService) Executors.class
                .getMethod("newVirtualThreadPerTaskExecutor").invoke(null);
        } catch (ReflectiveOperationException older) {
            return Executors.newCachedThreadPool();
        }
    }

    static void serve(Socket client) {
        try (client) {
            client.setTcpNoDelay(true);
            var in = new BufferedReader(
                new InputStreamReader(client.getInputStream(), StandardCharsets.ISO_8859_1));
            var out = new BufferedWriter(
                new OutputStreamWriter(client.getOutputStream(), StandardCharsets.ISO_8859_1));
            for (String line; (line = in.readLine()) != null;) {
                out.write(answer(line));
                if (!in.ready()) {
                    out.flush();
                }
            }
        } catch (IOException gone) {
            // Clients come and go.
        }
    }

    static String answer(String line) {
        Matcher match = IAMAT.matcher(line);
        if (!match.matches()) {
            return "? " + line + "\n";
        }
        String client = match.group(1);
        String position = match.group(2);
        String stamp = match.group(3);
        double sent = Double.parseDouble(stamp);
        newest.merge(client, new Report(sent, position, stamp),
            (known, told) -> known.sent < told.sent ? told : known);
        Instant now = Instant.now();
        String skew = spell(now.getEpochSecond() + now.getNano() / 1e9 - sent);
        return "AT Rival " + skew + " " + client + " " + position + " " + stamp + "\n";
    }

    /** `String.format("%+.9f")` costs more than all the rest. */
    static String spell(double skew) {
        long nanos = Math.round(Math.abs(skew) * 1e9);
        String fraction = Long.toString(1_000_000_000L + nanos % 1_000_000_000L).substring(1);
        return (skew < 0 ? "-" : "+") + nanos / 1_000_000_000L + "." + fraction;
    }
}
