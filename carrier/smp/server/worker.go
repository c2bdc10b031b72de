package smpserver

// A verification needs more stack than a goroutine begins with. So a few that
// have grown wait for the next job instead of ending; there are as many as jobs
// under way, and no more than idleWorkers without one.
const idleWorkers = 32

// A job is a lane's commands to carry out, or, without a lane, a connection's
// writing.
type job struct {
	conn *conn
	work work
}

func (s *Server) start(j job) {
	select {
	case s.jobs <- j: // somebody waits
	default:
		go s.worker(j)
	}
}

func (s *Server) worker(j job) {
	for more := true; more; {
		if j.work.lane != nil {
			j.conn.carryOut(j.work)
		} else {
			j.conn.write()
		}
		j = job{}
		if s.idle.Add(1) > idleWorkers {
			s.idle.Add(-1)
			return
		}
		j, more = <-s.jobs // until Shutdown closes it
		s.idle.Add(-1)
	}
}
