package com.example.shop;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.Set;

/** What Twinlock says of a call that failed. */
final class Refusal extends Exception {
    private static final long serialVersionUID = 1;

    /** One of the reasons of the API, such as INVALID_CODE. Branch on it. */
    final String reason;

    /** How long to wait before the next attempt; zero where waiting does not help. */
    final Duration retryAfter;

    private Refusal(String reason, String message, Duration retryAfter, Throwable cause) {
        super(message, cause);
        this.reason = reason;
        this.retryAfter = retryAfter;
    }

    /** Whether another code may be accepted, now or after the wait. */
    boolean allowsAnotherCode() {
        return Set.of("INVALID_CODE", "CODE_ALREADY_USED", "MALFORMED_CODE", "BACKOFF").contains(reason);
    }

    /**
     * Reads the details of a failed call.
     *
     * @throws StatusRuntimeException the failure itself, where it is not Twinlock's own, such as a connection
     *     that failed: nothing was verified then
     */
    static Refusal of(StatusRuntimeException failure) {
        String reason = null;
        var retryAfter = Duration.ZERO;
        var status = StatusProto.fromThrowable(failure);
        if (status == null) {
            throw failure;
        }
        try {
            for (var detail : status.getDetailsList()) {
                if (detail.is(ErrorInfo.class)) {
                    var info = detail.unpack(ErrorInfo.class);
                    reason = info.getDomain().equals("twinlock") ? info.getReason() : reason;
                } else if (detail.is(RetryInfo.class)) {
                    var delay = detail.unpack(RetryInfo.class).getRetryDelay();
                    retryAfter = Duration.ofSeconds(delay.getSeconds(), delay.getNanos());
                }
            }
        } catch (InvalidProtocolBufferException unreadable) {
            throw failure;
        }
        if (reason == null) {
            throw failure;
        }
        return new Refusal(reason, status.getMessage(), retryAfter, failure);
    }
}
