// A product's backend in Go, which calls Twinlock: set up an app, log in, prove identity again.
//
//	TWINLOCK_ADDRESS=127.0.0.1:6238 go run .
//
// TWINLOCK_TOKEN and TWINLOCK_CA (a PEM file) are for servers with callers and TLS.
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"

	"example.com/shop/twinlockv1"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	address := os.Getenv("TWINLOCK_ADDRESS")
	if address == "" {
		address = "127.0.0.1:6238"
	}
	conn, err := connect(address, os.Getenv("TWINLOCK_TOKEN"), os.Getenv("TWINLOCK_CA"))
	if err != nil {
		return err
	}
	defer conn.Close()
	shop := shop{twinlockv1.NewTwoStepServiceClient(conn), bufio.NewReader(os.Stdin)}
	if err := shop.setUp(ctx, "alice", "web-1"); err != nil {
		return err
	}
	if err := shop.logIn(ctx, "alice", "web-2"); err != nil {
		return err
	}
	// A session from before there was an app: it has proved nothing since.
	return shop.deleteAccount(ctx, "alice", "web-0")
}

// shop is the product. A person answers its questions on standard input, where a real one has pages.
type shop struct {
	twinlock twinlockv1.TwoStepServiceClient
	person   *bufio.Reader
}

// setUp turns two-step verification on, after the product has checked who this is in its own way.
func (s shop) setUp(ctx context.Context, user, session string) error {
	_, err := s.twinlock.Elevate(ctx, &twinlockv1.ElevateRequest{
		UserId: user, SessionId: session, RequestId: requestID(),
		Credential: &twinlockv1.ElevateRequest_Asserted{
			Asserted: &twinlockv1.AssertedCredential{How: "password"},
		},
	})
	if err != nil {
		return refused(err)
	}
	enrollment, err := s.twinlock.Enroll(ctx, &twinlockv1.EnrollRequest{
		UserId: user, SessionId: session, RequestId: requestID(),
	})
	if err != nil {
		return refused(err)
	}
	// A page shows enrollment.GetQrSvg() as well.
	fmt.Printf("Type this key into your app: %s\n", enrollment.GetSecret())
	code, err := s.ask("The code that it shows: ")
	if err != nil {
		return err
	}
	confirmed, err := s.twinlock.ConfirmEnrollment(ctx, &twinlockv1.ConfirmEnrollmentRequest{
		UserId: user, SessionId: session, TotpCode: code, RequestId: requestID(),
	})
	if err != nil {
		return refused(err)
	}
	fmt.Printf("Store this recovery key safely: %s\n", confirmed.GetRecoveryKey())
	if _, err := s.ask("Have you? "); err != nil {
		return err
	}
	_, err = s.twinlock.AcknowledgeRecoveryKey(ctx, &twinlockv1.AcknowledgeRecoveryKeyRequest{
		UserId: user, RecoveryKeyCreateTime: confirmed.GetRecoveryKeyCreateTime(),
	})
	return refused(err)
}

// logIn is what follows a right password.
func (s shop) logIn(ctx context.Context, user, session string) error {
	owed, err := s.twinlock.EvaluateLogin(ctx, &twinlockv1.EvaluateLoginRequest{
		UserId: user, Channel: twinlockv1.LoginChannel_LOGIN_CHANNEL_FORM, RequestId: requestID(),
	})
	if err != nil {
		return refused(err)
	}
	switch owed.GetDecision() {
	case twinlockv1.Decision_DECISION_ALLOW:
		return nil
	case twinlockv1.Decision_DECISION_VERIFY:
		return s.verify(ctx, user, session)
	case twinlockv1.Decision_DECISION_ENROLL:
		return s.setUp(ctx, user, session)
	default:
		return errors.New("this login is refused: " + owed.GetReason())
	}
}

// verify is the second step of a login. It elevates the session as well.
func (s shop) verify(ctx context.Context, user, session string) error {
	err := s.untilAccepted("The code that your app shows: ", func(code string) error {
		_, err := s.twinlock.Verify(ctx, &twinlockv1.VerifyRequest{
			UserId: user, SessionId: session, RequestId: requestID(),
			Credential: &twinlockv1.VerifyRequest_TotpCode{TotpCode: code},
		})
		return err
	})
	if err == nil {
		fmt.Println("Logged in.")
	}
	return err
}

// deleteAccount asks for a fresh proof of identity before something that cannot be undone.
func (s shop) deleteAccount(ctx context.Context, user, session string) error {
	_, err := s.twinlock.CheckElevation(ctx, &twinlockv1.CheckElevationRequest{
		UserId: user, SessionId: session,
	})
	if err = refused(err); isRefused(err, "ELEVATION_REQUIRED") {
		err = s.elevate(ctx, user, session)
	}
	if err != nil {
		return err
	}
	fmt.Println("This session has proved its identity: the account may be deleted.")
	return nil
}

// elevate proves identity again, for a session that is logged in.
func (s shop) elevate(ctx context.Context, user, session string) error {
	return s.untilAccepted("A fresh code, to go on: ", func(code string) error {
		_, err := s.twinlock.Elevate(ctx, &twinlockv1.ElevateRequest{
			UserId: user, SessionId: session, RequestId: requestID(),
			Credential: &twinlockv1.ElevateRequest_TotpCode{TotpCode: code},
		})
		return err
	})
}

// untilAccepted asks for a code until one is accepted, and gives up where no other code would help.
func (s shop) untilAccepted(question string, present func(code string) error) error {
	for {
		code, err := s.ask(question)
		if err != nil {
			return err
		}
		err = refused(present(code))
		var no *refusal
		if !errors.As(err, &no) || !no.allowsAnotherCode() {
			return err
		}
		fmt.Printf("%s: %s (wait %.0f s)\n", no.Reason, no.Message, no.RetryAfter.Seconds())
	}
}

func (s shop) ask(question string) (string, error) {
	fmt.Print(question)
	answer, err := s.person.ReadString('\n')
	fmt.Println()
	return strings.TrimSpace(answer), err
}

// requestID names one call. A call that failed without an answer may be repeated with the same id, and
// changes nothing twice.
func requestID() string { return rand.Text() }
