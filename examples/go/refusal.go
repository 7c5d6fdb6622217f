package main

import (
	"errors"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
)

// refusal is what Twinlock says of a call that failed.
type refusal struct {
	// Reason is one of the reasons of the API, such as INVALID_CODE. Branch on it.
	Reason string
	// Message is a plain sentence that says what to do.
	Message string
	// RetryAfter is how long to wait before the next attempt; zero where waiting does not help.
	RetryAfter time.Duration
}

func (r *refusal) Error() string { return r.Reason + ": " + r.Message }

// allowsAnotherCode tells whether another code may be accepted, now or after the wait.
func (r *refusal) allowsAnotherCode() bool {
	switch r.Reason {
	case "INVALID_CODE", "CODE_ALREADY_USED", "MALFORMED_CODE", "BACKOFF":
		return true
	}
	return false
}

// refused reads the details of a failed call. An error that is not Twinlock's own, such as a connection that
// failed, comes back as it is: nothing was verified then.
func refused(err error) error {
	failed, ok := status.FromError(err)
	if !ok {
		return err
	}
	found := refusal{Message: failed.Message()}
	for _, detail := range failed.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			if detail.GetDomain() == "twinlock" {
				found.Reason = detail.GetReason()
			}
		case *errdetails.RetryInfo:
			found.RetryAfter = detail.GetRetryDelay().AsDuration()
		}
	}
	if found.Reason == "" {
		return err
	}
	return &found
}

// isRefused tells whether a call failed for this reason.
func isRefused(err error, reason string) bool {
	var found *refusal
	return errors.As(err, &found) && found.Reason == reason
}
