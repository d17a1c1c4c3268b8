// What the pods of the tests' own cluster stand on: `pause` holds a pod's namespaces.
//
// `pause serve ADDRESS` answers each connection with the host's name, and `pause reach ADDRESS` writes what it is
// answered, so that a test sees whether pods reach one another.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	var err error
	switch {
	case len(os.Args) == 1:
		pause()
	case len(os.Args) == 3 && os.Args[1] == "serve":
		go pause()
		err = serve(os.Args[2])
	case len(os.Args) == 3 && os.Args[1] == "reach":
		err = reach(os.Args[2])
	default:
		err = fmt.Errorf("usage: pause [serve ADDRESS | reach ADDRESS]")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// pause waits for the signal to end, and buries the processes that were left to it.
func pause() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for one := range signals {
		if one != syscall.SIGCHLD {
			os.Exit(0)
		}
		for {
			if id, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); id <= 0 || err != nil {
				break
			}
		}
	}
}

func serve(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		// Who does not listen does not matter.
		fmt.Fprintln(connection, name)
		connection.Close()
	}
}

func reach(address string) error {
	connection, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return err
	}
	if err := connection.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	_, err = io.Copy(os.Stdout, connection)
	return err
}
