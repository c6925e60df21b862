package slack

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
)

// File is one that is shown in a thread.
type File struct {
	Name, Title, Alt string
	Data             []byte

	length int
}

// scoped refuses who may not upload, as Slack does.
func (s *Server) scoped() any {
	if !s.o.NoFiles {
		return nil
	}
	return map[string]any{"ok": false, "error": "missing_scope", "needed": "files:write", "provided": "chat:write"}
}

// uploadURL is files.getUploadURLExternal: the first of three calls.
func (s *Server) uploadURL(args map[string]string) any {
	if no := s.scoped(); no != nil {
		return no
	}
	n, err := strconv.Atoi(args["length"])
	if err != nil || n < 1 || args["filename"] == "" || length(args["alt_txt"]) > 1000 {
		s.problem("files.getUploadURLExternal of %v", args)
		return refuse("invalid_arguments")
	}
	s.number++
	id := fmt.Sprintf("F%09d", s.number)
	s.uploads[id] = &File{Name: args["filename"], Alt: args["alt_txt"], length: n}
	return map[string]any{"ok": true, "upload_url": s.URL + "/upload/v1/" + id, "file_id": id}
}

// upload is the second: the bytes, as many as were announced.
func (s *Server) upload(w http.ResponseWriter, r *http.Request) {
	part, _, err := r.FormFile("file")
	var data []byte
	if err == nil {
		data, err = io.ReadAll(part)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls["upload"]++
	if s.broken != nil {
		if status, body := s.broken("upload"); status != 0 {
			w.WriteHeader(status)
			fmt.Fprint(w, body)
			return
		}
	}
	f := s.uploads[r.PathValue("id")]
	if f == nil || err != nil || len(data) != f.length {
		s.problem("an upload of %d bytes to %s (%v)", len(data), r.URL.Path, err)
		http.Error(w, "the size is not what was announced", http.StatusBadRequest)
		return
	}
	f.Data = data
	fmt.Fprintf(w, "OK - %d", len(data))
}

// share is files.completeUploadExternal: the third, which shows the files in a thread, once.
func (s *Server) share(args map[string]string) any {
	if no := s.scoped(); no != nil {
		return no
	}
	var files []struct{ ID, Title string }
	if err := json.Unmarshal([]byte(args["files"]), &files); err != nil || len(files) != 1 {
		s.problem("files.completeUploadExternal of %v (%v)", args, err)
		return refuse("invalid_arguments")
	}
	f := s.uploads[files[0].ID]
	at := slices.IndexFunc(s.messages, func(m *Message) bool { return m.TS == args["thread_ts"] })
	switch {
	case f == nil || f.Data == nil:
		s.problem("file %s is shared and was not uploaded, or is shared twice", files[0].ID)
		return refuse("file_not_found")
	case s.channel(args["channel_id"]) == "" || args["channel_id"][0] == '#' || at < 0:
		return refuse("invalid_channel") // takes ids only
	}
	delete(s.uploads, files[0].ID)
	f.Title = files[0].Title
	s.messages[at].Files = append(s.messages[at].Files, *f)
	return map[string]any{"ok": true, "files": []any{map[string]any{"id": files[0].ID, "title": f.Title}}}
}
