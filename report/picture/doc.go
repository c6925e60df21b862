// Package picture is the end of the flow for the eye: it draws the evidence of an
// incident, where the target's threads spent the measured time before and after
// and the histograms that the findings cite, as PNGs for those ends that show
// pictures (report/slack). It draws what the incident says and asks nobody.
//
// A picture brings its own background, so that it reads the same in a light and in
// a dark window, and the same incident gives the same bytes.
package picture
