// Calls the API through Go's generated client, as it is told on standard input. A call is a line of fields with
// tabs between them:
//
//	ID ADDRESS TOKEN METHOD REQUEST
//
// and so is its end, in whatever order calls end:
//
//	ID answer ANSWER
//	ID refused CODE REASON MILLISECONDS FIELDS MESSAGE
//	ID failed ERROR
//
// Requests and answers are messages in base64. It ends with its input.
package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"sync"
	"time"

	"example.com/shop/twinlockv1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// callTime is longer than the server's own limit.
const callTime = 20 * time.Second

func main() {
	connections := map[string]*grpc.ClientConn{}
	var output sync.Mutex
	input := bufio.NewScanner(os.Stdin)
	input.Buffer(nil, 1<<24)
	for input.Scan() {
		fields := strings.Split(input.Text(), "\t")
		id, address, token, method, request := fields[0], fields[1], fields[2], fields[3], fields[4]
		if connections[address] == nil {
			conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				panic(err)
			}
			connections[address] = conn
		}
		conn := connections[address]
		go func() {
			end := call(conn, token, method, request)
			output.Lock()
			defer output.Unlock()
			fmt.Printf("%s\t%s\n", id, strings.Join(end, "\t"))
		}()
	}
}

// call makes a call; what it gives is how it ended.
func call(conn *grpc.ClientConn, token, method, request string) []string {
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	answer, err := invoke(ctx, conn, method, request)
	if err != nil {
		return refused(err)
	}
	bytes, err := proto.Marshal(answer)
	if err != nil {
		return failed(err)
	}
	return []string{"answer", base64.StdEncoding.EncodeToString(bytes)}
}

// invoke calls the generated function of the method, with the generated type of its request.
func invoke(ctx context.Context, conn *grpc.ClientConn, method, request string) (proto.Message, error) {
	bytes, err := base64.StdEncoding.DecodeString(request)
	if err != nil {
		return nil, err
	}
	for _, client := range []any{
		twinlockv1.NewTwoStepServiceClient(conn),
		twinlockv1.NewAdminServiceClient(conn),
		twinlockv1.NewOperatorServiceClient(conn),
	} {
		function := reflect.ValueOf(client).MethodByName(method)
		if !function.IsValid() {
			continue
		}
		message := reflect.New(function.Type().In(1).Elem())
		if err := proto.Unmarshal(bytes, message.Interface().(proto.Message)); err != nil {
			return nil, err
		}
		ends := function.Call([]reflect.Value{reflect.ValueOf(ctx), message})
		err, _ := ends[1].Interface().(error)
		return ends[0].Interface().(proto.Message), err
	}
	return nil, errors.New("the client has no " + method)
}

// refused reads the details of a failed call.
func refused(err error) []string {
	refusal, ok := status.FromError(err)
	if !ok {
		return failed(err)
	}
	var reason, millis string
	var fields []string
	for _, detail := range refusal.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			if detail.GetDomain() == "twinlock" {
				reason = detail.GetReason()
			}
		case *errdetails.RetryInfo:
			millis = fmt.Sprint(detail.GetRetryDelay().AsDuration().Milliseconds())
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				fields = append(fields, violation.GetField())
			}
		}
	}
	if reason == "" {
		return failed(err)
	}
	code := fmt.Sprint(int(refusal.Code()))
	return []string{"refused", code, reason, millis, strings.Join(fields, ","), refusal.Message()}
}

func failed(err error) []string {
	return []string{"failed", strings.Join(strings.Fields(err.Error()), " ")}
}
