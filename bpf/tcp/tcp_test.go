package tcp

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/kmend/kmend/test/rig"
	"golang.org/x/sys/unix"
)

// TestLosses holds every count against TCP_INFO, and the time stalled against
// what the clients measured.
func TestLosses(t *testing.T) {
	for _, c := range []struct {
		name             string
		requests, answer float64 // lost of segments to the server, to the clients
	}{{"requests", 0.2, 0}, {"answers", 0, 0.2}, {"both", 0.1, 0.1}, {"none", 0, 0}} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, "127.0.0.1:0", after(0))
			var clients []*client
			for range 4 {
				cl := dial(t, s)
				cl.ask()
				cl.asked, cl.took = 0, 0
				clients = append(clients, cl)
				rig.Lose(t, cl.c, c.answer)
			}
			for _, conn := range s.conns() {
				rig.Lose(t, conn, c.requests)
			}
			clientsBefore, serversBefore := clientInfos(t, clients), infos(t, s.conns())
			r := measure(t, 4*time.Second, func() {
				until := time.Now().Add(2 * time.Second)
				var wg sync.WaitGroup
				for _, cl := range clients {
					wg.Go(func() {
						for time.Now().Before(until) {
							cl.ask()
							time.Sleep(5 * time.Millisecond)
						}
					})
				}
				time.Sleep(time.Until(until))
				for i, conn := range s.conns() { // what is under way gets through, in the window
					rig.Lose(t, conn, 0)
					rig.Lose(t, clients[i].c, 0)
				}
				wg.Wait()
			})
			asked, server := r.clientOf(s.addr()), r.serverOn(s.addr().Port())
			checkInfo(t, "client", asked, clientsBefore, clientInfos(t, clients))
			checkInfo(t, "server", server, serversBefore, infos(t, s.conns()))

			var count uint64
			var took time.Duration
			for _, cl := range clients {
				count += cl.asked
				took += cl.took
			}
			if asked.Answers < count*9/10 || asked.Answers > count {
				t.Errorf("%d answers, the clients had %d", asked.Answers, count)
			}
			// What stalls an answer is seen by the server's side, or as the wait for it.
			seen := asked.AnswerTime + asked.Stalled() + asked.GoneStall
			t.Logf("answers and stalls %v, the clients waited %v; server's stalls %v", seen, took, server.Stalled())
			if seen > took+took/10+50*time.Millisecond || seen < took/2 {
				t.Errorf("answers and stalls took %v, the clients waited %v", seen, took)
			}
			if c.requests+c.answer == 0 {
				if n := asked.Retransmits + server.Retransmits; n > 0 || asked.Stalled()+server.Stalled() > 0 {
					t.Errorf("%d retransmits and stalls of %v without a loss", n, asked.Stalled()+server.Stalled())
				}
			}
			if c.requests > 0 && asked.Stalled() < took/4 {
				t.Errorf("requests are lost, the clients waited %v, and only %v of it is a stall", took, asked.Stalled())
			}
			if c.answer > 0 && server.Stalled() < took/4 {
				t.Errorf("answers are lost, the clients waited %v, and only %v of it is a stall of the server", took, server.Stalled())
			}
		})
	}
}

func infos(t *testing.T, conns []*net.TCPConn) (all []unix.TCPInfo) {
	for _, c := range conns {
		all = append(all, rig.TCPInfo(t, c))
	}
	return all
}

func clientInfos(t *testing.T, clients []*client) (all []unix.TCPInfo) {
	for _, c := range clients {
		all = append(all, rig.TCPInfo(t, c.c))
	}
	return all
}

func checkInfo(t *testing.T, who string, p Peer, before, after []unix.TCPInfo) {
	t.Helper()
	var segments, retransmits uint64
	for i := range before {
		segments += uint64(after[i].Data_segs_out - before[i].Data_segs_out)
		retransmits += uint64(after[i].Total_retrans - before[i].Total_retrans)
	}
	t.Logf("%s: TCP_INFO has %d segments, %d retransmits", who, segments, retransmits)
	if p.Segments != segments || p.Retransmits != retransmits {
		t.Errorf("%s: %d segments, %d retransmits; TCP_INFO has %d, %d", who, p.Segments, p.Retransmits, segments, retransmits)
	}
	// One may be sent after the window and before it is read, or in an interrupt of the program.
	if sum := p.TimeoutSegments + p.FastSegments + p.TailSegments; sum > p.Retransmits || sum+1+p.Retransmits/20 < p.Retransmits {
		t.Errorf("%s: %d retransmits by kind, %d in all", who, sum, p.Retransmits)
	}
	if int(p.Connections) != len(before) {
		t.Errorf("%s: %d connections, want %d", who, p.Connections, len(before))
	}
}
