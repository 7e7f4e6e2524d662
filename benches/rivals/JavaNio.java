// The herd's client port on Java NIO: one thread, one selector.
//
// All lines that came together are answered by one write. IAMAT and `? line` only. Left out:
// WHATSAT, peers, limits, logs, exact skews (doubles here); a client that does not read is hung up on.

import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.StandardSocketOptions;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.HashMap;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

public final class JavaNio {
    private static final Pattern IAMAT = Pattern.compile(
        "\\s*IAMAT\\s+(\\S+)\\s+([+-]\\d+(?:\\.\\d+)?[+-]\\d+(?:\\.\\d+)?)\\s+(\\d+(?:\\.\\d+)?)\\s*");

    record Report(double sent, String position, String stamp) {}

    private final Map<String, Report> newest = new HashMap<>();
    private final byte[] bytes = new byte[64 * 1024];
    private final ByteBuffer in = ByteBuffer.allocateDirect(bytes.length);
    private final StringBuilder out = new StringBuilder();

    public static void main(String[] arguments) throws IOException {
        new JavaNio().run(Integer.parseInt(arguments[0]));
    }

    void run(int port) throws IOException {
        Selector selector = Selector.open();
        ServerSocketChannel server = ServerSocketChannel.open();
        server.bind(new InetSocketAddress("127.0.0.1", port), 4096);
        server.configureBlocking(false);
        server.register(selector, SelectionKey.OP_ACCEPT);
        while (true) {
            selector.select(key -> {
                try {
                    if (key.isAcceptable()) {
                        accept(server, selector);
                    } else if (!serve(key)) {
                        key.channel().close();
                    }
                } catch (IOException gone) {
                    key.cancel();
                    try {
                        key.channel().close();
                    } catch (IOException ignored) {
                        // It is gone anyhow.
                    }
                }
            });
        }
    }

    void accept(ServerSocketChannel server, Selector selector) throws IOException {
        for (SocketChannel client; (client = server.accept()) != null;) {
            client.configureBlocking(false);
            client.setOption(StandardSocketOptions.TCP_NODELAY, true);
            // What is attached is the beginning of a line whose end has not come.
            client.register(selector, SelectionKey.OP_READ, "");
        }
    }

    /** Whether the connection goes on. */
    boolean serve(SelectionKey key) throws IOException {
        SocketChannel client = (SocketChannel) key.channel();
        in.clear();
        if (client.read(in) < 0) {
            return false;
        }
        int count = in.flip().remaining();
        in.get(bytes, 0, count);
        // By way of an array: decoding the buffer would make two bytes of each and then one again.
        String text = key.attachment() + new String(bytes, 0, count, StandardCharsets.ISO_8859_1);
        int start = 0;
        out.setLength(0);
        for (int end; (end = text.indexOf('\n', start)) >= 0; start = end + 1) {
            answer(text.substring(start, end));
        }
        key.attach(text.substring(start));
        if (out.isEmpty()) {
            return true;
        }
        ByteBuffer answers = ByteBuffer.wrap(out.toString().getBytes(StandardCharsets.ISO_8859_1));
        client.write(answers);
        return !answers.hasRemaining();
    }

    void answer(String line) {
        Matcher match = IAMAT.matcher(line);
        if (!match.matches()) {
            out.append("? ").append(line.endsWith("\r") ? line.substring(0, line.length() - 1) : line)
                .append('\n');
            return;
        }
        String client = match.group(1);
        String position = match.group(2);
        String stamp = match.group(3);
        double sent = Double.parseDouble(stamp);
        newest.merge(client, new Report(sent, position, stamp),
            (known, told) -> known.sent < told.sent ? told : known);
        out.append("AT Rival ");
        spell(skew(sent));
        out.append(' ').append(client).append(' ').append(position).append(' ').append(stamp)
            .append('\n');
    }

    static double skew(double sent) {
        Instant now = Instant.now();
        return now.getEpochSecond() + now.getNano() / 1e9 - sent;
    }

    /** `String.format("%+.9f")` costs more than all the rest. */
    void spell(double skew) {
        long nanos = Math.round(Math.abs(skew) * 1e9);
        String fraction = Long.toString(1_000_000_000L + nanos % 1_000_000_000L);
        out.append(skew < 0 ? '-' : '+').append(nanos / 1_000_000_000L).append('.')
            .append(fraction, 1, fraction.length());
    }
}
