// swift-tools-version: 6.2
import PackageDescription

let settings: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .treatAllWarnings(as: .error),
]

func module(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
  .target(name: name, dependencies: dependencies, swiftSettings: settings)
}

func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .testTarget(name: name, dependencies: dependencies, swiftSettings: settings)
}

let package = Package(
  name: "skep",
  products: [
    .library(name: "Skep", targets: ["Skep", "BPFISA", "BPFObject", "BPFKernel"]),
    .executable(name: "skep", targets: ["SkepCommand"]),
  ],
  targets: [
    // From the ground up: each imports only what stands above it.
    module("BPFISA"),
    module("BTF"),
    module("BPFLinux", ["BPFISA", "BTF"]),
    module("BPFObject", ["BPFISA", "BTF", "BPFLinux"]),
    module("BPFVerifier", ["BPFISA", "BTF", "BPFLinux"]),
    // What machine code and Swift share of a run, as C lays it out.
    .target(name: "CBPFRuntime"),
    module("BPFMaps", ["BPFLinux", "BTF", "CBPFRuntime"]),
    module("BPFRuntime", ["BPFISA", "BTF", "BPFLinux", "BPFVerifier", "BPFMaps", "CBPFRuntime"]),
    module("BPFJIT", ["BPFISA", "BPFLinux", "BPFVerifier", "BPFMaps", "BPFRuntime", "CBPFRuntime"]),
    // Commands whose bpf(2) somebody else answers, as C lays it out.
    .target(name: "CBPFSupervisor"),
    module(
      "BPFSyscall",
      [
        "BPFISA", "BTF", "BPFLinux", "BPFVerifier", "BPFMaps", "BPFRuntime", "BPFJIT", "CBPFRuntime", "CBPFSupervisor",
      ]),
    // bpf(2) takes its arguments as C lays them out.
    .target(name: "CBPFSystem"),
    module("BPFKernel", ["BPFISA", "BTF", "BPFLinux", "CBPFSystem"]),
    module("BPFExplain", ["BPFISA", "BTF", "BPFLinux", "BPFVerifier"]),
    // Recorded answers of real kernels, for tests and for the recorder.
    module("GoldenCases", ["BPFISA", "BTF", "BPFLinux", "BPFVerifier", "BPFKernel"]),
    // Random programs, and where Skep and the kernel say different things of them.
    module("BPFFuzz", ["BPFISA", "BTF", "BPFLinux", "BPFVerifier", "BPFKernel", "GoldenCases"]),
    module(
      "Skep",
      [
        "BPFISA", "BTF", "BPFLinux", "BPFObject", "BPFVerifier", "BPFMaps", "BPFRuntime", "BPFJIT", "BPFKernel",
        "BPFExplain",
      ]),
    .executableTarget(
      name: "SkepCommand",
      dependencies: [
        "Skep", "BPFISA", "BTF", "BPFLinux", "BPFObject", "BPFVerifier", "BPFKernel", "BPFFuzz", "GoldenCases",
        "BPFExplain", "BPFSyscall",
      ],
      swiftSettings: settings,
      // One file that runs on another Linux machine: the Swift runtime is linked in.
      linkerSettings: [.unsafeFlags(["-static-stdlib"], .when(configuration: .release))]
    ),
    tests("BPFISATests", ["BPFISA"]),
    tests("BTFTests", ["BTF"]),
    tests("BPFLinuxTests", ["BPFISA", "BTF", "BPFLinux"]),
    tests("BPFObjectTests", ["BPFISA", "BTF", "BPFLinux", "BPFObject"]),
    tests("BPFVerifierTests", ["BPFLinux", "BPFVerifier", "GoldenCases"]),
    tests("SoundnessTests", ["BPFISA", "BTF", "BPFLinux", "BPFVerifier", "GoldenCases"]),
    tests("BPFMapsTests", ["BPFLinux", "BTF", "BPFMaps", "CBPFRuntime", "CBPFSystem"]),
    tests(
      "BPFRuntimeTests",
      ["BPFISA", "BTF", "BPFLinux", "BPFVerifier", "BPFMaps", "BPFRuntime", "BPFKernel", "CBPFRuntime"]),
    tests("BPFJITTests", ["BPFISA", "BTF", "BPFLinux", "BPFVerifier", "BPFMaps", "BPFRuntime", "BPFJIT", "CBPFRuntime"]),
    tests("BPFSyscallTests", ["BPFISA", "BTF", "BPFLinux", "BPFMaps", "BPFSyscall", "CBPFSupervisor"]),
    tests("BPFExplainTests", ["BPFISA", "BPFLinux", "BPFVerifier", "BPFExplain", "GoldenCases"]),
    tests("BPFKernelTests", ["BPFISA", "BPFLinux", "BPFKernel", "GoldenCases"]),
    tests(
      "SkepTests", ["BPFISA", "BTF", "BPFLinux", "BPFObject", "BPFVerifier", "BPFKernel", "BPFFuzz", "Skep"]),
    tests("BPFFuzzTests", ["BPFISA", "BPFLinux", "BPFVerifier", "BPFFuzz"]),
    tests("SkepCommandTests", ["SkepCommand"]),
  ]
)
