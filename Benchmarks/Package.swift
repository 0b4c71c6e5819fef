// swift-tools-version: 6.2
import PackageDescription

let settings: [SwiftSetting] = [.swiftLanguageMode(.v6), .treatAllWarnings(as: .error)]

let package = Package(
  name: "benchmarks",
  dependencies: [.package(name: "skep", path: "..")],
  targets: [
    .executableTarget(
      name: "skep-bench", dependencies: [.product(name: "Skep", package: "skep")], swiftSettings: settings)
  ]
)
