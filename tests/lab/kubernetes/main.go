// Copyright: (c) 2026, Herald contributors
// SPDX-License-Identifier: Apache-2.0

// Command herald-lab-kubernetes is a whole Kubernetes control plane in one binary.
//
// Distributions ship no kube-apiserver, so the lab builds one from the Go modules of the Kubernetes project. The first
// argument, or the name by which the program is called, says which part to be. Every part takes its usual options.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
)

// parts are the Kubernetes programs in this binary, by their usual names.
var parts = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllers.NewControllerManagerCommand,
	"kube-proxy":              proxy.NewProxyCommand,
	"kubectl":                 func() *cobra.Command { return kubectl.NewDefaultKubectlCommand() },
}

func main() {
	part, args := filepath.Base(os.Args[0]), os.Args
	if _, known := parts[part]; !known && part != "etcd" && len(os.Args) > 1 {
		part, args = os.Args[1], os.Args[1:]
	}
	os.Args = append([]string{part}, args[1:]...) // cobra and etcd read it

	if part == "etcd" {
		etcdmain.Main(os.Args)
		return
	}
	build, known := parts[part]
	if !known {
		fmt.Fprintf(os.Stderr, "herald-lab-kubernetes: no part is called %q; want etcd, kube-apiserver, "+
			"kube-controller-manager, kube-proxy or kubectl as the first argument\n", part)
		os.Exit(2)
	}
	os.Exit(cli.Run(build()))
}
