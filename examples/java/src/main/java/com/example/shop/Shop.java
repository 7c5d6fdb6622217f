package com.example.shop;

import dev.twinlock.v1.AcknowledgeRecoveryKeyRequest;
import dev.twinlock.v1.AssertedCredential;
import dev.twinlock.v1.CheckElevationRequest;
import dev.twinlock.v1.ConfirmEnrollmentRequest;
import dev.twinlock.v1.ElevateRequest;
import dev.twinlock.v1.EnrollRequest;
import dev.twinlock.v1.EvaluateLoginRequest;
import dev.twinlock.v1.LoginChannel;
import dev.twinlock.v1.TwoStepServiceGrpc;
import dev.twinlock.v1.TwoStepServiceGrpc.TwoStepServiceBlockingStub;
import dev.twinlock.v1.VerifyRequest;
import io.grpc.StatusRuntimeException;
import java.io.BufferedReader;
import java.io.EOFException;
import java.io.File;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import java.util.function.Supplier;

/**
 * A product's backend in Java, which calls Twinlock: set up an app, log in, prove identity again.
 *
 * <p>TWINLOCK_ADDRESS is the server, 127.0.0.1:6238 by default. TWINLOCK_TOKEN and TWINLOCK_CA (a PEM file) are
 * for servers with callers and TLS. A person answers its questions on standard input, where a real product has
 * pages.
 */
public final class Shop {
    private final TwoStepServiceBlockingStub twinlock;
    private final BufferedReader person;

    private Shop(TwoStepServiceBlockingStub twinlock, BufferedReader person) {
        this.twinlock = twinlock;
        this.person = person;
    }

    /** Runs the whole life of a user. */
    public static void main(String[] arguments) throws Exception {
        var environment = System.getenv();
        var authorities = environment.get("TWINLOCK_CA");
        var channel = Connection.open(
                environment.getOrDefault("TWINLOCK_ADDRESS", "127.0.0.1:6238"),
                authorities == null ? null : new File(authorities));
        try {
            var stub = TwoStepServiceGrpc.newBlockingStub(channel);
            var token = environment.get("TWINLOCK_TOKEN");
            if (token != null) {
                stub = stub.withCallCredentials(Connection.token(token));
            }
            var person = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
            var shop = new Shop(stub, person);
            shop.setUp("alice", "web-1");
            shop.logIn("alice", "web-2");
            // A session from before there was an app: it has proved nothing since.
            shop.deleteAccount("alice", "web-0");
        } catch (Refusal refusal) {
            System.err.println(refusal.reason + ": " + refusal.getMessage());
            System.exit(1);
        } catch (StatusRuntimeException failure) {
            // Not Twinlock's own answer: nothing was verified.
            System.err.println(failure.getStatus());
            System.exit(1);
        } finally {
            channel.shutdown().awaitTermination(5, TimeUnit.SECONDS);
        }
    }

    /** Turns two-step verification on, after the product has checked who this is in its own way. */
    private void setUp(String user, String session) throws Refusal, IOException {
        var asserted = AssertedCredential.newBuilder().setHow("password");
        var elevate = ElevateRequest.newBuilder()
                .setUserId(user).setSessionId(session).setRequestId(requestId()).setAsserted(asserted).build();
        call(() -> twinlock.elevate(elevate));
        var enroll = EnrollRequest.newBuilder()
                .setUserId(user).setSessionId(session).setRequestId(requestId()).build();
        var enrollment = call(() -> twinlock.enroll(enroll));
        // A page shows enrollment.getQrSvg() as well.
        System.out.println("Type this key into your app: " + enrollment.getSecret());
        var confirm = ConfirmEnrollmentRequest.newBuilder()
                .setUserId(user).setSessionId(session).setRequestId(requestId())
                .setTotpCode(ask("The code that it shows: ")).build();
        var confirmed = call(() -> twinlock.confirmEnrollment(confirm));
        System.out.println("Store this recovery key safely: " + confirmed.getRecoveryKey());
        ask("Have you? ");
        var acknowledge = AcknowledgeRecoveryKeyRequest.newBuilder()
                .setUserId(user).setRecoveryKeyCreateTime(confirmed.getRecoveryKeyCreateTime()).build();
        call(() -> twinlock.acknowledgeRecoveryKey(acknowledge));
    }

    /** What follows a right password. */
    private void logIn(String user, String session) throws Refusal, IOException {
        var evaluate = EvaluateLoginRequest.newBuilder()
                .setUserId(user).setChannel(LoginChannel.LOGIN_CHANNEL_FORM).setRequestId(requestId()).build();
        var owed = call(() -> twinlock.evaluateLogin(evaluate));
        switch (owed.getDecision()) {
            case DECISION_ALLOW -> {}
            case DECISION_VERIFY -> verify(user, session);
            case DECISION_ENROLL -> setUp(user, session);
            default -> throw new IOException("this login is refused: " + owed.getReason());
        }
    }

    /** The second step of a login. It elevates the session as well. */
    private void verify(String user, String session) throws Refusal, IOException {
        untilAccepted("The code that your app shows: ", code -> twinlock.verify(VerifyRequest.newBuilder()
                .setUserId(user).setSessionId(session).setRequestId(requestId()).setTotpCode(code).build()));
        System.out.println("Logged in.");
    }

    /** Asks for a fresh proof of identity before something that cannot be undone. */
    private void deleteAccount(String user, String session) throws Refusal, IOException {
        var check = CheckElevationRequest.newBuilder().setUserId(user).setSessionId(session).build();
        try {
            call(() -> twinlock.checkElevation(check));
        } catch (Refusal refusal) {
            if (!refusal.reason.equals("ELEVATION_REQUIRED")) {
                throw refusal;
            }
            elevate(user, session);
        }
        System.out.println("This session has proved its identity: the account may be deleted.");
    }

    /** Proves identity again, for a session that is logged in. */
    private void elevate(String user, String session) throws Refusal, IOException {
        untilAccepted("A fresh code, to go on: ", code -> twinlock.elevate(ElevateRequest.newBuilder()
                .setUserId(user).setSessionId(session).setRequestId(requestId()).setTotpCode(code).build()));
    }

    /** Asks for a code until one is accepted, and gives up where no other code would help. */
    private void untilAccepted(String question, Function<String, ?> present) throws Refusal, IOException {
        while (true) {
            var code = ask(question);
            try {
                call(() -> present.apply(code));
                return;
            } catch (Refusal refusal) {
                if (!refusal.allowsAnotherCode()) {
                    throw refusal;
                }
                System.out.printf(
                        "%s: %s (wait %d s)%n",
                        refusal.reason, refusal.getMessage(), refusal.retryAfter.toSeconds());
            }
        }
    }

    private static <A> A call(Supplier<A> call) throws Refusal {
        try {
            return call.get();
        } catch (StatusRuntimeException failure) {
            throw Refusal.of(failure);
        }
    }

    private String ask(String question) throws IOException {
        System.out.println(question);
        var answer = person.readLine();
        if (answer == null) {
            throw new EOFException("nobody answers");
        }
        return answer.strip();
    }

    /** Names one call. A call that failed without an answer may be repeated with the same id, and changes nothing twice. */
    private static String requestId() {
        return UUID.randomUUID().toString();
    }
}
