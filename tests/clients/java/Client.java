import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.MessageLite;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import dev.twinlock.v1.AdminServiceGrpc;
import dev.twinlock.v1.OperatorServiceGrpc;
import dev.twinlock.v1.TwoStepServiceGrpc;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.AbstractStub;
import io.grpc.stub.MetadataUtils;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;

/**
 * Calls the API through Java's generated client, as it is told on standard input.
 *
 * <p>A call is a line of fields with tabs between them, {@code ID ADDRESS TOKEN METHOD REQUEST}, and so is its end,
 * in whatever order calls end: {@code ID answer ANSWER}, {@code ID refused CODE REASON MILLISECONDS FIELDS MESSAGE}
 * or {@code ID failed ERROR}. Requests and answers are messages in base64. It ends with its input.
 */
public final class Client {
    /** Longer than the server's own limit. */
    private static final long CALL_SECONDS = 20;

    private static final Metadata.Key<String> AUTHORIZATION =
            Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

    private Client() {}

    public static void main(String[] arguments) throws Exception {
        var channels = new HashMap<String, ManagedChannel>();
        var threads = Executors.newCachedThreadPool();
        var input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (var line = input.readLine(); line != null; line = input.readLine()) {
            var fields = line.split("\t", -1);
            var channel = channels.computeIfAbsent(fields[1], address ->
                    Grpc.newChannelBuilder(address, InsecureChannelCredentials.create()).build());
            threads.execute(() -> {
                var end = String.join("\t", call(channel, fields[2], fields[3], fields[4]));
                var bytes = (fields[0] + "\t" + end + "\n").getBytes(StandardCharsets.UTF_8);
                System.out.writeBytes(bytes);
                System.out.flush();
            });
        }
        System.exit(0);
    }

    /** Makes a call; what it gives is how it ended. */
    private static List<String> call(ManagedChannel channel, String token, String method, String request) {
        try {
            var answer = invoke(channel, token, method, Base64.getDecoder().decode(request));
            return List.of("answer", Base64.getEncoder().encodeToString(answer.toByteArray()));
        } catch (InvocationTargetException thrown) {
            var cause = thrown.getCause();
            return cause instanceof StatusRuntimeException failure ? refused(failure) : failed(cause);
        } catch (ReflectiveOperationException | RuntimeException failure) {
            return failed(failure);
        }
    }

    /** Calls the generated function of the method, with the generated type of its request. */
    private static MessageLite invoke(ManagedChannel channel, String token, String method, byte[] request)
            throws ReflectiveOperationException {
        var name = Character.toLowerCase(method.charAt(0)) + method.substring(1);
        for (AbstractStub<?> service : List.of(
                TwoStepServiceGrpc.newBlockingStub(channel),
                AdminServiceGrpc.newBlockingStub(channel),
                OperatorServiceGrpc.newBlockingStub(channel))) {
            for (var function : service.getClass().getMethods()) {
                if (function.getName().equals(name)) {
                    AbstractStub<?> stub = service.withDeadlineAfter(CALL_SECONDS, TimeUnit.SECONDS);
                    if (!token.isEmpty()) {
                        var headers = new Metadata();
                        headers.put(AUTHORIZATION, "Bearer " + token);
                        stub = stub.withInterceptors(MetadataUtils.newAttachHeadersInterceptor(headers));
                    }
                    var parse = function.getParameterTypes()[0].getMethod("parseFrom", byte[].class);
                    return (MessageLite) function.invoke(stub, parse.invoke(null, request));
                }
            }
        }
        throw new NoSuchMethodException(method);
    }

    /** Reads the details of a failed call. */
    private static List<String> refused(StatusRuntimeException failure) {
        var reason = "";
        var millis = "";
        var fields = new ArrayList<String>();
        var status = StatusProto.fromThrowable(failure);
        try {
            for (var detail : status.getDetailsList()) {
                if (detail.is(ErrorInfo.class)) {
                    var info = detail.unpack(ErrorInfo.class);
                    reason = info.getDomain().equals("twinlock") ? info.getReason() : reason;
                } else if (detail.is(RetryInfo.class)) {
                    var delay = detail.unpack(RetryInfo.class).getRetryDelay();
                    millis = String.valueOf(delay.getSeconds() * 1000 + delay.getNanos() / 1_000_000);
                } else if (detail.is(BadRequest.class)) {
                    detail.unpack(BadRequest.class).getFieldViolationsList()
                            .forEach(violation -> fields.add(violation.getField()));
                }
            }
        } catch (InvalidProtocolBufferException unreadable) {
            return failed(unreadable);
        }
        if (reason.isEmpty()) {
            return failed(failure);
        }
        var code = String.valueOf(status.getCode());
        return List.of("refused", code, reason, millis, String.join(",", fields), status.getMessage());
    }

    private static List<String> failed(Throwable failure) {
        return List.of("failed", String.valueOf(failure).replaceAll("\\s+", " "));
    }
}
