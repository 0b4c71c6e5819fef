import CBPFRuntime

/// What the processor at hand can do.
struct X64Features {
  /// Three-operand shifts and rotations (BMI2).
  var hasBMI2: Bool

  static let here = X64Features(hasBMI2: skep_processor_features() >> 8 & 1 != 0)
}
