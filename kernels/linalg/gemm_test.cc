// Products against the chain that gemm.h promises, bit by bit, and against
// sums in long double. Run for each instruction set (BUILD), so that all give
// the same bits.

#include "kernels/linalg/gemm.h"

#include <cmath>
#include <cstring>
#include <random>
#include <tuple>
#include <vector>

#include "gtest/gtest.h"

namespace narrow {
namespace {

struct Shape {
  int64_t m, n, k;
};
// Slabs have 14 or 6 rows and 32, 16 or 8 columns, blocks of depth 256.
constexpr Shape kShapes[] = {
    {1, 1, 1},     {1, 1, 0},      {3, 5, 7},     {14, 32, 256}, {15, 33, 257},
    {6, 16, 8},    {7, 17, 9},     {29, 31, 300}, {1, 300, 70},  {300, 1, 70},
    {57, 64, 513}, {113, 530, 37}, {500, 40, 20}, {128, 96, 64}, {2, 2, 1000},
};

template <typename T>
std::vector<T> Normal(int64_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<T> normal;
  std::vector<T> values(static_cast<size_t>(n));
  for (T& v : values) {
    v = normal(random);
  }
  return values;
}

template <typename T>
bool SameBits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

// One product with leading dimensions larger than needed.
template <typename T>
struct Problem {
  Problem(const Shape& shape, bool transposed, Update update)
      : shape(shape),
        transposed(transposed),
        update(update),
        lda(shape.k + 3),
        ldb((transposed ? shape.k : shape.n) + 5),
        ldc(shape.n + 2),
        a(Normal<T>(shape.m * lda, 1)),
        b(Normal<T>((transposed ? shape.n : shape.k) * ldb, 2)),
        c(Normal<T>(shape.m * ldc, 3)) {}

  std::vector<T> Run(ThreadPool* pool) const {
    std::vector<T> out = c;
    (transposed ? static_cast<Function>(&GemmNT)
                : static_cast<Function>(&Gemm))(pool, update, shape.m, shape.n,
                                                shape.k, a.data(), lda,
                                                b.data(), ldb, out.data(), ldc);
    return out;
  }

  T ElementOfB(int64_t p, int64_t j) const {
    return transposed ? b[j * ldb + p] : b[p * ldb + j];
  }

  std::vector<T> Chain() const {
    std::vector<T> out = c;
    for (int64_t i = 0; i < shape.m; ++i) {
      for (int64_t j = 0; j < shape.n; ++j) {
        T sum = update == Update::kSet ? 0 : c[i * ldc + j];
        for (int64_t p = 0; p < shape.k; ++p) {
          const T x = a[i * lda + p];
          sum = std::fma(update == Update::kSubtract ? -x : x, ElementOfB(p, j),
                         sum);
        }
        out[i * ldc + j] = sum;
      }
    }
    return out;
  }

  using Function = void (*)(ThreadPool*, Update, int64_t, int64_t, int64_t,
                            const T*, int64_t, const T*, int64_t, T*, int64_t);
  const Shape shape;
  const bool transposed;
  const Update update;
  const int64_t lda, ldb, ldc;
  const std::vector<T> a, b, c;
};

template <typename T>
class GemmTest : public testing::Test {
 protected:
  template <typename Body>
  void ForProblems(const Body& body) {
    for (const Shape& shape : kShapes) {
      for (const bool transposed : {false, true}) {
        for (const Update update :
             {Update::kSet, Update::kAdd, Update::kSubtract}) {
          SCOPED_TRACE(testing::Message()
                       << shape.m << " x " << shape.n << " x " << shape.k
                       << (transposed ? ", NT" : "") << ", update "
                       << static_cast<int>(update));
          body(Problem<T>(shape, transposed, update));
        }
      }
    }
  }
};
using Types = testing::Types<float, double>;
TYPED_TEST_SUITE(GemmTest, Types);

TYPED_TEST(GemmTest, IsTheChainOfFusedMultiplyAdds) {
  this->ForProblems([](const Problem<TypeParam>& problem) {
    EXPECT_TRUE(SameBits(problem.Run(nullptr), problem.Chain()));
  });
}

TYPED_TEST(GemmTest, DoesNotDependOnThreads) {
  ThreadPool one(1), two(2), seven(7);
  for (const Shape& shape : {Shape{130, 300, 270}, Shape{1000, 33, 64},
                             Shape{60, 1100, 40}, Shape{700, 70, 300}}) {
    for (const bool transposed : {false, true}) {
      const Problem<TypeParam> problem(shape, transposed, Update::kAdd);
      const auto want = problem.Run(nullptr);
      for (ThreadPool* pool : {&one, &two, &seven}) {
        EXPECT_TRUE(SameBits(problem.Run(pool), want)) << shape.m;
      }
    }
  }
}

TYPED_TEST(GemmTest, IsNearTheSum) {
  const Problem<TypeParam> problem({40, 50, 700}, true, Update::kSet);
  const auto got = problem.Run(nullptr);
  for (int64_t i = 0; i < problem.shape.m; ++i) {
    for (int64_t j = 0; j < problem.shape.n; ++j) {
      long double sum = 0, size = 0;
      for (int64_t p = 0; p < problem.shape.k; ++p) {
        const long double term =
            static_cast<long double>(problem.a[i * problem.lda + p]) *
            problem.ElementOfB(p, j);
        sum += term;
        size += std::fabs(term);
      }
      // Each of k steps rounds a partial sum no larger than `size`.
      const long double unit = std::numeric_limits<TypeParam>::epsilon() / 2;
      EXPECT_LE(std::fabs(sum - got[i * problem.ldc + j]),
                static_cast<long double>(problem.shape.k) * unit * size);
    }
  }
}

}  // namespace
}  // namespace narrow
