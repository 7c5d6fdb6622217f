package com.example.shop;

import io.grpc.CallCredentials;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.TlsChannelCredentials;
import java.io.File;
import java.io.IOException;
import java.util.concurrent.Executor;
import java.util.concurrent.TimeUnit;

/** One connection to Twinlock, with TLS, a caller's token, and a deadline for every call. */
final class Connection {
    /** Seconds that a call may take which has no deadline of its own; the server's own limit is 5 by default. */
    private static final long CALL_SECONDS = 5;

    private Connection() {}

    /**
     * Makes a channel; one is enough for a whole process.
     *
     * @param target host and port
     * @param authorities a PEM file of those who vouch for the server; null for a connection without TLS, which
     *     is for loopback alone
     */
    static ManagedChannel open(String target, File authorities) throws IOException {
        var credentials = authorities == null
                ? InsecureChannelCredentials.create()
                : TlsChannelCredentials.newBuilder().trustManager(authorities).build();
        return Grpc.newChannelBuilder(target, credentials).intercept(new Deadline()).build();
    }

    /** A caller's token, for the stubs. It is sent over TLS alone. */
    static CallCredentials token(String token) {
        return new Bearer(token);
    }

    /** Lets no call wait for ever. */
    private static final class Deadline implements ClientInterceptor {
        @Override
        public <Q, A> ClientCall<Q, A> interceptCall(
                MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
            var isOpenEnded = !method.getType().serverSendsOneMessage() || options.getDeadline() != null;
            return next.newCall(
                    method,
                    isOpenEnded ? options : options.withDeadlineAfter(CALL_SECONDS, TimeUnit.SECONDS));
        }
    }

    private static final class Bearer extends CallCredentials {
        private static final Metadata.Key<String> AUTHORIZATION =
                Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

        private final String token;

        Bearer(String token) {
            this.token = token;
        }

        @Override
        public void applyRequestMetadata(RequestInfo request, Executor executor, MetadataApplier applier) {
            if (request.getSecurityLevel() != io.grpc.SecurityLevel.PRIVACY_AND_INTEGRITY) {
                applier.fail(Status.UNAUTHENTICATED.withDescription("A token is sent over TLS alone."));
                return;
            }
            var headers = new Metadata();
            headers.put(AUTHORIZATION, "Bearer " + token);
            applier.apply(headers);
        }
    }
}
