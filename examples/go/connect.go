package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// callTime bounds every call that has no deadline of its own. The server's own limit is 5 s by default.
const callTime = 5 * time.Second

// connect makes a client connection; one is enough for a whole process. The server's certificate must come
// from one of the authorities in the PEM file caFile. Without caFile the connection is not encrypted, and
// gRPC refuses to send a token on it: that is for loopback alone.
func connect(address, token, caFile string) (*grpc.ClientConn, error) {
	options := []grpc.DialOption{grpc.WithUnaryInterceptor(withDeadline)}
	if caFile == "" {
		options = append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))
	} else {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, err
		}
		authorities := x509.NewCertPool()
		if !authorities.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", caFile)
		}
		config := &tls.Config{RootCAs: authorities, MinVersion: tls.VersionTLS12}
		options = append(options, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	}
	if token != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearer(token)))
	}
	return grpc.NewClient(address, options...)
}

// withDeadline lets no call wait for ever.
func withDeadline(
	ctx context.Context, method string, request, answer any, conn *grpc.ClientConn,
	invoke grpc.UnaryInvoker, options ...grpc.CallOption,
) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTime)
		defer cancel()
	}
	return invoke(ctx, method, request, answer, conn, options...)
}

// bearer is a caller's token. It is not printed.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

func (bearer) RequireTransportSecurity() bool { return true }

func (bearer) String() string { return "bearer(redacted)" }
